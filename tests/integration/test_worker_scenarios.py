"""The same tasks in a stock worker and in ours: their records are equal."""

from __future__ import annotations

import json
import os
import textwrap
import uuid
from datetime import datetime, timedelta, timezone

import pytest
import redis
from kombu import Connection

from celerant import Celerant
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.until import until

BROKER_DB, RESULT_DB = 7, 8
RESULTS = services.redis_url(RESULT_DB)
URLS = {
    "redis": services.redis_url(BROKER_DB),
    "rabbitmq": services.RABBITMQ,
}
KINDS = ["stock", "ours"]
pytestmark = pytest.mark.timeout(150)

MODULE = """
    import os, redis
    from celerant import Celerant
    app = Celerant("scenarios", broker={broker!r}, backend={results!r},
                   task_default_queue=os.environ["H6_QUEUE"], result_expires=600,
                   result_extended=True, worker_prefetch_multiplier=1,
                   worker_send_task_events=True)
    stock = app.to_celery()
    store = redis.Redis.from_url({results!r})

    @app.task(name="h6.add")
    def add(x, y=2):
        return x + y

    @app.task(name="h6.fail")
    def fail(*args):
        raise ValueError(*args)

    @app.task(name="h6.own", throws=(KeyError,))
    def own():
        raise KeyError("expected")

    @app.task(name="h6.ignored", ignore_result=True)
    def ignored():
        raise ValueError("nobody wants to know")

    @app.task(name="h6.hold")
    def hold(key):
        "Run until the key is let go."
        store.lpush(key + "-entered", 1)
        store.expire(key + "-entered", 600)
        return store.blpop([key + "-go"], 60) is not None

    @app.task(name="h6.patient")
    def patient(key):
        from celery.exceptions import SoftTimeLimitExceeded
        try:
            return hold.run(key)
        except SoftTimeLimitExceeded:
            return "caught"

    @app.task(name="h6.die", acks_late=True)
    def die(how):
        os._exit(int(how))

    @app.task(name="h6.die_once", acks_late=True, reject_on_worker_lost=True)
    def die_once(key):
        runs = store.incr(key + "-runs")
        store.expire(key + "-runs", 600)
        if runs == 1:
            os._exit(1)
        return runs
"""


class Shop:
    """A worker of one kind, and the steps of a test with it."""

    def __init__(self, broker, queue, name):
        self.name = name
        self.app = Celerant(
            "scenarios", broker=broker, backend=RESULTS, task_default_queue=queue
        )
        self.store = redis.Redis.from_url(RESULTS)
        self.queue = queue

    def send(self, task, *args, **options):
        return self.app.send_task(task, args, **options)

    def revoke(self, ids, **options):
        # Any other worker stores "revoked" for tasks that it does not run itself.
        self.app.control.revoke(ids, destination=[self.name], **options)

    def holds(self, result):
        """Whether the worker has a task that is to run later."""
        asked = self.app.control.inspect(destination=[self.name], limit=1)
        entries = (asked.scheduled() or {}).get(self.name, [])
        return result.id in [entry["request"]["id"] for entry in entries]

    def key(self):
        return f"celerant-h6-{uuid.uuid4().hex[:8]}"

    def await_entry(self, key):
        assert self.store.blpop([f"{key}-entered"], 30), "the task did not begin"

    def let_go(self, key):
        self.store.lpush(f"{key}-go", 1)
        self.store.expire(f"{key}-go", 600)

    def record(self, result, timeout=30):
        """Return the last record, without the fields that differ between two runs."""
        result.get(timeout=timeout, propagate=False)
        return self.comparable(result)

    def comparable(self, result):
        stored = self.store.get(f"celery-task-meta-{result.id}")
        if stored is None:
            return None
        record = json.loads(stored)
        del record["task_id"]
        record["date_done"] = record["date_done"] is not None
        record["traceback"] = record["traceback"] is not None
        if "worker" in record:
            record["worker"] = record["worker"] == self.name
        if record["status"] == "FAILURE":
            failure = record["result"]
            # Billiard's text counts its jobs; ours has no such number.
            if failure["exc_type"] == "WorkerLostError":
                failure["exc_message"] = "its own words"
        if record.get("args"):
            keys = "celerant-h6-"
            record["args"] = [
                keys if str(a).startswith(keys) else a for a in record["args"]
            ]
        if "queue" in record:
            record["queue"] = record["queue"] == self.queue
        return record


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def shops(request, redis_url, celery_worker, tmp_path_factory):
    """A stock prefork worker and ours with processes, two slots each."""
    broker = URLS[request.param]
    if request.param == "rabbitmq":
        request.getfixturevalue("rabbitmq_url")
    folder = tmp_path_factory.mktemp("scenarios")
    code = MODULE.format(broker=broker, results=RESULTS)
    (folder / "h6scenarios.py").write_text(textwrap.dedent(code))
    made, workers = {}, []
    try:
        for kind in KINDS:
            queue = f"celerant-h6-{kind}-{uuid.uuid4().hex[:8]}"
            environment = {"PYTHONPATH": str(folder), "H6_QUEUE": queue}
            name = f"{queue}-{os.getpid()}@localhost"
            made[kind] = Shop(broker, queue, name)
            if kind == "stock":
                worker = celery_worker(
                    broker=broker,
                    backend=RESULTS,
                    queue=queue,
                    module="h6scenarios:stock",
                    pool="prefork",
                    environment=environment,
                )
            else:
                worker = CelerantWorker(
                    folder=folder,
                    module="h6scenarios:app",
                    hostname=name,
                    environment={**os.environ, **environment},
                )
                worker.__enter__()
            workers.append(worker)
        yield made
    finally:
        # Before the queues go: a worker gives held messages back.
        for worker in workers:
            worker.stop()
        for shop in made.values():
            _forget(broker, shop)


def _forget(broker, shop):
    with Connection(broker) as connection:
        connection.default_channel.queue_delete(shop.queue)
    shop.app.close()
    with services.redis_client(BROKER_DB) as client:
        client.delete(*(client.keys(f"*{shop.queue}*") or ["-"]))
    shop.store.close()


def both(shops, scenario):
    """Return a scenario's outcome in ours, having seen that it is the same."""
    stock, ours = (scenario(shops[kind]) for kind in KINDS)
    assert ours == stock
    return ours


def test_a_successful_task_stores_its_value(shops):
    record = both(shops, lambda shop: shop.record(shop.send("h6.add", 1)))
    assert (record["status"], record["result"], record["queue"]) == ("SUCCESS", 3, True)


@pytest.mark.parametrize("task", ["h6.fail", "h6.own"])
def test_a_failing_task_stores_its_error(shops, task):
    args = ("no such item", 3) if task == "h6.fail" else ()
    record = both(shops, lambda shop: shop.record(shop.send(task, *args)))
    assert record["status"] == "FAILURE"
    assert record["traceback"]


def test_unknown_task_fails_as_a_stock_worker_stores_it(shops):
    def scenario(shop):
        record = shop.record(shop.send("h6.unheard", 1))
        # Celery leaves the extended fields of such a record empty.
        for field in ("name", "args", "kwargs", "worker", "retries", "queue"):
            del record[field]
        return record

    record = both(shops, scenario)
    assert record["result"]["exc_type"] == "NotRegistered"


def test_ignored_results_leave_no_record(shops):
    def scenario(shop):
        result = shop.send("h6.ignored", ignore_result=True)
        # Two slots: by the end of the third the first has ended.
        for _ in range(3):
            shop.record(shop.send("h6.add", 1))
        return shop.comparable(result)

    assert both(shops, scenario) is None


def test_a_task_with_an_eta_succeeds(shops):
    soon = datetime.now(timezone.utc) + timedelta(seconds=1)
    record = both(shops, lambda s: s.record(s.send("h6.add", 1, eta=soon)))
    assert record["status"] == "SUCCESS"


def test_expired_task_is_revoked(shops):
    if shops["ours"].app.conf.broker_url.startswith("amqp"):
        pytest.skip("RabbitMQ drops what has expired itself")
    past = datetime.now(timezone.utc) - timedelta(seconds=9)
    record = both(shops, lambda s: s.record(s.send("h6.add", 1, expires=past)))
    assert record["status"] == "REVOKED"
    assert record["result"]["exc_message"] == ["expired"]


def test_task_over_its_hard_time_limit_fails(shops):
    record = both(shops, lambda s: s.record(s.send("h6.hold", s.key(), time_limit=1)))
    assert record["status"] == "FAILURE"
    assert record["result"]["exc_type"] == "TimeLimitExceeded"


def test_task_over_its_soft_time_limit_fails(shops):
    record = both(
        shops, lambda s: s.record(s.send("h6.hold", s.key(), soft_time_limit=1))
    )
    assert record["status"] == "FAILURE"
    assert record["result"]["exc_type"] == "SoftTimeLimitExceeded"


def test_task_may_catch_its_soft_time_limit(shops):
    record = both(
        shops, lambda s: s.record(s.send("h6.patient", s.key(), soft_time_limit=1))
    )
    assert record["result"] == "caught"


def test_task_whose_process_exits_fails(shops):
    record = both(shops, lambda s: s.record(s.send("h6.die", 3)))
    assert record["result"]["exc_type"] == "WorkerLostError"


def test_reject_on_worker_lost_runs_the_task_again(shops):
    record = both(shops, lambda s: s.record(s.send("h6.die_once", s.key())))
    assert (record["status"], record["result"]) == ("SUCCESS", 2)


def test_task_revoked_before_its_eta_does_not_run(shops):
    def scenario(shop):
        result = shop.send("h6.add", 1, countdown=3600)
        until(lambda: shop.holds(result), 30)
        shop.revoke(result.id)
        record = shop.record(result)
        # A stock worker stores its own fields only when its time has come.
        return {name: record[name] for name in ("status", "result", "traceback")}

    assert both(shops, scenario)["status"] == "REVOKED"


def test_task_revoked_while_it_waits_for_a_slot_does_not_run(shops):
    def scenario(shop):
        keys = [shop.key(), shop.key()]
        running = [shop.send("h6.hold", key) for key in keys]
        for key in keys:
            shop.await_entry(key)
        waiting = [shop.send("h6.add", i) for i in range(2)]
        shop.revoke([result.id for result in waiting])
        records = [shop.record(result) for result in waiting]
        for key in keys:
            shop.let_go(key)
        assert [r.get(timeout=30) for r in running] == [True, True]
        # And no worker has run them since.
        after = [shop.record(shop.send("h6.add", 1)) for _ in range(3)]
        return records, after, [shop.record(result)["status"] for result in waiting]

    records, _, states = both(shops, scenario)
    assert [r["status"] for r in records] == ["REVOKED", "REVOKED"]
    assert states == ["REVOKED", "REVOKED"]


@pytest.mark.parametrize("signal", [None, "SIGKILL"])
def test_terminate_ends_a_running_task(shops, signal):
    def scenario(shop):
        key = shop.key()
        result = shop.send("h6.hold", key)
        shop.await_entry(key)
        shop.revoke(result.id, terminate=True, signal=signal)
        record = shop.record(result)
        assert shop.send("h6.add", 5).get(timeout=30) == 7
        return record

    record = both(shops, scenario)
    assert record["status"] == "REVOKED"
    assert record["result"]["exc_message"] == ["terminated"]


def test_tasks_revoked_by_stamps_do_not_run(shops):
    def scenario(shop):
        key, stamp = shop.key(), shop.key()
        headers = {"stamped_headers": ["batch"], "stamps": {"batch": stamp}}
        running = shop.send("h6.hold", key, headers=headers)
        shop.await_entry(key)
        shop.app.control.revoke_by_stamped_headers({"batch": stamp}, terminate=True)
        ended = shop.record(running)
        later = shop.record(shop.send("h6.add", 1, headers=headers))
        for record in (ended, later):
            assert record.pop("batch", stamp) == stamp
        return ended, later

    ended, later = both(shops, scenario)
    assert (ended["status"], later["status"]) == ("REVOKED", "REVOKED")
