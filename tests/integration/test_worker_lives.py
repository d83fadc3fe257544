"""Workers that are started, cut off, stopped and killed: stock ones and ours alike.

Each scenario runs with a `celery worker` and with a `celerant worker` of its own, and
what it comes to is equal.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
import redis
from kombu import Connection

from celerant import Celerant
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.logged_process import LoggedProcess
from harness.tcp_proxy import TcpProxy
from harness.until import until

RESULTS = services.redis_url(8)
BROKERS = {"redis": services.redis_url(7), "rabbitmq": services.RABBITMQ}
PORTS = {"redis": services.REDIS_PORT, "rabbitmq": services.RABBITMQ_PORT}
KINDS = ["stock", "ours"]
pytestmark = pytest.mark.timeout(180)

MODULE = """
    import json, os, redis
    from celerant import Celerant
    app = Celerant("lives", broker=os.environ["CELERANT_BROKER"], backend={results!r},
                   task_default_queue=os.environ["CELERANT_QUEUE"], result_expires=600,
                   result_extended=True, worker_prefetch_multiplier=1,
                   **json.loads(os.environ["CELERANT_SETTINGS"]))
    stock = app.to_celery()
    store = redis.Redis.from_url({results!r}, socket_timeout=90)

    def enter(key):
        store.expire(key + "-runs", 600)
        runs = store.incr(key + "-runs")
        store.lpush(key + "-entered", runs)
        store.expire(key + "-entered", 600)
        return runs

    @app.task(name="lives.hold")
    def hold(key):
        return enter(key), store.blpop([key + "-go"], 60) is not None

    @app.task(name="lives.late", acks_late=True)
    def late(key):
        return hold.run(key)

    @app.task(name="lives.dies_late", acks_late=True, bind=True)
    def dies_late(self, key):
        runs = enter(key)
        if runs == 1:
            store.blpop([key + "-never"], 60)
        return runs, self.request.delivery_info["redelivered"]

    @app.task(name="lives.note", bind=True)
    def note(self, key, value):
        info = self.request.delivery_info
        store.rpush(key + "-notes", json.dumps([value, info["priority"]]))
        store.expire(key + "-notes", 600)
"""


class Life:
    """One kind of worker, started as often as a scenario wants."""

    def __init__(self, kind, broker, folder, settings, port=None):
        self.kind = kind
        self.key = f"celerant-lives-{uuid.uuid4().hex[:8]}"
        self.url = BROKERS[broker]
        self.store = redis.Redis.from_url(RESULTS, socket_timeout=90)
        if broker == "redis":
            # Keys of its own: others' messages in this database are not to come again.
            own = {
                f"unacked_{part}": f"{self.key}-unacked-{part}"
                for part in ("key", "index_key", "mutex_key")
            }
            options = {**own, **settings.get("broker_transport_options", {})}
            settings = {**settings, "broker_transport_options": options}
        self.app = Celerant(
            "lives",
            broker=self.url,
            backend=RESULTS,
            task_default_queue=self.key,
            **settings,
        )
        self._folder = folder
        self.process = None
        url = self.url
        if port is not None:
            url = url.replace(f":{PORTS[broker]}/", f":{port}/")
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "CELERANT_BROKER": url,
            "CELERANT_QUEUE": self.key,
            "CELERANT_SETTINGS": json.dumps(settings),
        }

    def worker(self, concurrency=1):
        self.process = self._worker(concurrency)
        return self.process

    def told(self):
        """What a failing test says of the worker."""
        log = getattr(self.process, "log", ())
        return "\n".join([f"with the {self.kind} worker, which logged:", *log])

    def _worker(self, concurrency):
        host = f"{self.key}@localhost"
        if self.kind == "ours":
            return CelerantWorker(
                folder=self._folder,
                module="celerant_lives:app",
                hostname=host,
                concurrency=concurrency,
                environment=self._environment,
            )
        return LoggedProcess(
            [
                *(sys.executable, "-m", "celery", "-A", "celerant_lives:stock"),
                *("worker", "-P", "prefork", "-c", str(concurrency), "-n", host),
                *("-l", "INFO", "--without-gossip", "--without-mingle"),
            ],
            is_ready=lambda line: line.rstrip().endswith(" ready."),
            folder=self._folder,
            environment=self._environment,
        )

    def send(self, task, *args, **options):
        return self.app.send_task(f"lives.{task}", args, **options)

    def await_entry(self, key):
        entry = self.store.blpop([f"{key}-entered"], 60)
        assert entry, "the task did not begin"
        return int(entry[1])

    def let_go(self, key, times=1):
        self.store.lpush(f"{key}-go", *range(times))
        self.store.expire(f"{key}-go", 600)

    def left(self):
        """How many messages wait in the queue."""
        with Connection(self.url) as connection:
            channel = connection.default_channel
            if connection.transport_cls == "redis":
                return channel._size(self.key)
            return self.app.queues[self.key](channel).queue_declare(passive=True)[1]

    def await_left(self, number):
        """Wait until that many are left, and see that it stays so."""
        until(lambda: self.left() == number)
        # The worker answers after the messages that it has read by then.
        host = f"{self.key}@localhost"
        assert self.app.control.ping([host], timeout=20)
        return self.left()

    def await_stop(self, worker):
        """Wait until a worker that was told to stop begins nothing more."""
        # Ours gives held messages back at once, a stock one at its end.
        said = "go back to" if self.kind == "ours" else "Warm shutdown"
        until(lambda: any(said in line for line in worker.log))

    def record(self, result):
        """Return the last record, without the fields that differ between two runs."""
        result.get(timeout=60, propagate=False)
        record = json.loads(self.store.get(f"celery-task-meta-{result.id}"))
        assert record.pop("task_id") == result.id
        assert record.pop("worker") == f"{self.key}@localhost"
        assert record.pop("date_done")
        assert record.pop("queue") == self.key
        record["args"] = len(record["args"])
        return record

    def close(self):
        self.app.close()
        with Connection(self.url) as connection:
            connection.default_channel.queue_delete(self.key)
        with services.redis_client(7) as client:
            client.delete(*(client.keys(f"*{self.key}*") or ["-"]))
        self.store.close()


@pytest.fixture(params=list(BROKERS))
def broker(request, redis_url):
    if request.param == "rabbitmq":
        request.getfixturevalue("rabbitmq_url")
    return request.param


@pytest.fixture
def both(broker, tmp_path):
    """Run a scenario with both kinds; return its outcome, which is the same."""
    code = textwrap.dedent(MODULE.format(results=RESULTS))
    (tmp_path / "celerant_lives.py").write_text(code)
    lives = []

    def run(scenario, settings=None, port=None):
        told = {}
        for kind in KINDS:
            life = Life(kind, broker, tmp_path, settings or {}, port)
            lives.append(life)
            try:
                told[kind] = scenario(life)
            except BaseException:
                # No note of the exception: Python 3.10 has none.
                logging.getLogger(__name__).error(life.told())  # noqa: TRY400 - the test raises it
                raise
        assert told["ours"] == told["stock"]
        return told["ours"]

    yield run
    for life in lives:
        life.close()


def _kill_9(process):
    """Kill a worker and its children, as a machine that loses power does."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    for pid in (process.pid, *map(int, children.split())):
        os.kill(pid, signal.SIGKILL)
    process.wait(20)


def test_a_late_ack_survives_kill_9(both, broker):
    soon = {
        "visibility_timeout": 1,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }

    def scenario(life):
        key = f"{life.key}-late"
        with life.worker() as first:
            result = life.send("dies_late", key)
            assert life.await_entry(key) == 1
            _kill_9(first.process)
        with life.worker():
            return life.record(result)

    options = {"broker_transport_options": soon} if broker == "redis" else {}
    record = both(scenario, options)
    assert record["status"] == "SUCCESS"
    assert record["result"] == [2, True]


@pytest.mark.parametrize(("task", "left"), [("hold", 4), ("late", 6)])
def test_no_more_than_the_prefetch_count_is_taken(both, task, left):
    # Two slots: early acknowledged messages leave room for two more.
    def scenario(life):
        key = f"{life.key}-held"
        results = [life.send(task, key) for _ in range(8)]
        with life.worker(concurrency=2):
            for _ in range(2):
                life.await_entry(key)
            seen = life.await_left(left)
            life.let_go(key, 8)
            records = [life.record(result) for result in results]
        runs = sorted(record.pop("result")[0] for record in records)
        return seen, runs, records

    seen, runs, records = both(scenario)
    assert seen == left
    assert runs == list(range(1, 9))
    assert {record["status"] for record in records} == {"SUCCESS"}


def test_a_worker_that_lost_the_broker_goes_on(both, broker):
    with TcpProxy(PORTS[broker]) as proxy:

        def scenario(life):
            key = f"{life.key}-held"
            # The acknowledgement may be lost with the connection: then the message
            # comes again, and holds a second slot.
            with life.worker(concurrency=3):
                sent = life.send("hold", key)
                life.await_entry(key)
                proxy.cut()
                after = life.record(life.send("note", key, "after"))
                life.let_go(key, 2)
                running = life.record(sent)
            runs, running["result"] = running["result"][0], running["result"][1]
            assert runs in {1, 2}
            return running, after

        running, after = both(scenario, port=proxy.port)
    assert (running["status"], running["result"]) == ("SUCCESS", True)
    assert after["status"] == "SUCCESS"


def test_a_stop_finishes_running_tasks_and_leaves_the_rest(both):
    def scenario(life):
        key = f"{life.key}-held"
        results = [life.send("hold", key) for _ in range(5)]
        with life.worker() as worker:
            life.await_entry(key)
            # One runs, and one is held ahead of its run.
            assert life.await_left(3) == 3
            worker.process.terminate()
            life.await_stop(worker)
            life.let_go(key)
            code = worker.process.wait(60)
        left = life.left()
        return code, left, life.record(results[0]), [r.ready() for r in results]

    code, left, first, ready = both(scenario)
    assert (code, left) == (0, 4)
    assert first["status"] == "SUCCESS"
    assert ready == [True, False, False, False, False]


def test_messages_run_in_the_order_of_their_priorities(both, broker):
    wanted = [3, 9, 0, 6, 3, 0, 9, 6]
    settings = (
        {"task_queue_max_priority": 10}
        if broker == "rabbitmq"
        else {
            "broker_transport_options": {
                "priority_steps": [0, 3, 6, 9],
                "queue_order_strategy": "priority",
            }
        }
    )

    def scenario(life):
        # All of them are there before the worker is.
        results = [
            life.send("note", life.key, number, priority=priority)
            for number, priority in enumerate(wanted)
        ]
        with life.worker():
            for result in results:
                life.record(result)
        notes = [json.loads(n) for n in life.store.lrange(f"{life.key}-notes", 0, -1)]
        # No order among equals: in Celery's worker, py-amqp gives back a message that
        # comes before it has noted the consumer.
        return sorted(notes), [priority for _, priority in notes]

    notes, order = both(scenario, settings)
    assert notes == sorted(map(list, enumerate(wanted)))
    # Redis runs 0 first, RabbitMQ the highest.
    assert order == sorted(wanted, reverse=broker == "rabbitmq")
