"""Tasks that steer their worker, in the embedded worker and in stock ones."""

from __future__ import annotations

import os
import textwrap
import uuid

import pytest

from celerant import Celerant, MaxRetriesExceeded, Reject, group
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.until import until

BROKER, RESULTS = services.redis_url(7), services.redis_url(8)
pytestmark = pytest.mark.timeout(120)

MODULE = """
    import os
    from celerant import Celerant, Ignore, Reject, Retry, chord, group
    app = Celerant("steers", broker={broker!r}, backend={results!r},
                   task_default_queue=os.environ["CELERANT_QUEUE"], result_expires=600,
                   result_extended=True)
    stock = app.to_celery()

    class BurstError(Exception):
        pass

    @app.task(name="steers.add")
    def add(x, y):
        return x + y

    @app.task(name="steers.lineage", bind=True)
    def lineage(self, *args):
        request = self.request
        return [request.id, request.root_id, request.parent_id, request.group,
                request.group_index, request.retries, list(args)]

    @app.task(name="steers.again", bind=True, max_retries=3)
    def again(self, times):
        if self.request.retries < times:
            raise self.retry(exc=BurstError("not yet"), countdown=0)
        request = self.request
        return [request.retries, request.root_id, request.group, request.group_index]

    # A second between runs: a stock worker's record of a retry that is late takes
    # the place of the end, and with it the count that the test reads.
    @app.task(name="steers.auto", autoretry_for=(BurstError,), retry_backoff=True,
              retry_backoff_max=1, retry_jitter=False, max_retries=2)
    def auto():
        raise BurstError("each time")

    @app.task(name="steers.limit", bind=True, max_retries=1)
    def limit(self):
        raise self.retry(countdown=0)

    @app.task(name="steers.ours")
    def ours(times):
        # Not `self`: the task of the app itself, also inside a stock worker.
        if ours.request.retries < times:
            raise ours.retry(exc=BurstError("not yet"), countdown=0)
        return ours.request.retries

    @app.task(name="steers.ignore")
    def ignore():
        raise Ignore("nothing")

    @app.task(name="steers.reject", acks_late=True)
    def reject():
        raise Reject("not for me", requeue=False)

    @app.task(name="steers.requeue", bind=True, acks_late=True)
    def requeue(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)
        return "second time"

    @app.task(name="steers.replace", bind=True)
    def replace(self, how):
        # Canvases of the library whose task `self` is.
        if self.app is app:
            library = __import__("celerant")
        else:
            library = __import__("celery")
        tasks = self.app.tasks
        inner, total = tasks["steers.lineage"], tasks["steers.add"]
        if how == "task":
            return self.replace(inner.s("x"))
        if how == "group":
            return self.replace(library.group(inner.s(1), inner.s(2)))
        return self.replace(total.s(1, 2) | total.s(10) | total.s(100))

    @app.task(name="steers.extend", bind=True)
    def extend(self, x):
        if self.request.retries == 0 and x:
            self.add_to_chord(self.app.tasks["steers.add"].s(x, 100))
        return x

    @app.task(name="steers.total")
    def total(values):
        return sorted(values)

    @app.task(name="steers.progress", bind=True)
    def progress(self):
        self.update_state(state="PROGRESS", meta=dict(done=3))
        raise Ignore("the state stays")
"""

KINDS = {
    "ours-threads": ("ours", "threads"),
    "ours-processes": ("ours", "processes"),
    "stock-prefork": ("stock", "prefork"),
}


@pytest.fixture(params=list(KINDS), scope="module")
def steers(request, redis_url, celery_worker, tmp_path_factory):
    """Run a task by name on one kind of worker."""
    kind, pool = KINDS[request.param]
    folder = tmp_path_factory.mktemp("steers")
    queue = f"celerant-steers-{uuid.uuid4().hex[:8]}"
    (folder / "celerant_steers.py").write_text(
        textwrap.dedent(MODULE.format(broker=BROKER, results=RESULTS))
    )
    environment = {"PYTHONPATH": str(folder), "CELERANT_QUEUE": queue}
    if kind == "stock":
        worker = celery_worker(
            broker=BROKER,
            backend=RESULTS,
            queue=queue,
            module="celerant_steers:stock",
            pool=pool,
            environment=environment,
        )
    else:
        worker = CelerantWorker(
            folder=folder,
            module="celerant_steers:app",
            hostname=f"{queue}@localhost",
            pool=pool,
            environment={**os.environ, **environment},
        )
        worker.__enter__()
    with Celerant(
        "steers",
        broker=BROKER,
        backend=RESULTS,
        task_default_queue=queue,
        result_extended=True,
    ) as app:
        yield app
    worker.stop()
    with services.redis_client(7) as client:
        client.delete(*(client.keys(f"*{queue}*") or ["-"]))


def test_retries_keep_their_place_in_the_group(steers):
    members = [steers.signature("steers.again", (n % 3,)) for n in range(6)]
    sent = group(members, app=steers).apply_async()
    assert sent.get(timeout=60) == [
        [n % 3, result.id, sent.id, n] for n, result in enumerate(sent)
    ]


def test_autoretry_ends_in_the_tasks_error(steers):
    result = steers.send_task("steers.auto")
    with pytest.raises(Exception, match="each time"):
        result.get(timeout=60)
    assert (result.state, result.retries) == ("FAILURE", 2)


def test_the_limit_of_retries_is_celerys_error(steers):
    result = steers.send_task("steers.limit")
    with pytest.raises(MaxRetriesExceeded):
        result.get(timeout=60)


def test_the_apps_own_task_retries_in_either_worker(steers):
    assert steers.send_task("steers.ours", (2,)).get(timeout=60) == 2


def test_a_rejected_task_fails(steers):
    result = steers.send_task("steers.reject")
    with pytest.raises(Reject) as caught:
        result.get(timeout=60)
    assert (caught.value.reason, caught.value.requeue) == ("not for me", False)


def test_a_requeued_task_comes_again(steers):
    assert steers.send_task("steers.requeue").get(timeout=60) == "second time"


def test_an_ignored_task_leaves_no_record(steers):
    ignored = steers.send_task("steers.ignore")
    for _ in range(8):
        steers.send_task("steers.add", (1, 2)).get(timeout=60)
    assert ignored.state == "PENDING"


def test_a_state_of_ones_own_is_stored(steers):
    result = steers.send_task("steers.progress")
    until(lambda: result.state != "PENDING", 60)
    assert (result.state, result.info) == ("PROGRESS", {"done": 3})
    assert result.name == "steers.progress"


def test_a_replacement_has_the_place_of_the_task(steers):
    sent = group(
        [
            steers.signature("steers.replace", ("task",)),
            steers.signature("steers.lineage"),
        ],
        app=steers,
    ).apply_async()
    replaced, _ = sent.get(timeout=60)
    own = sent[0].id
    assert replaced == [own, own, own, sent.id, 0, 0, ["x"]]


def test_a_group_in_a_tasks_place_gives_a_list(steers):
    result = steers.send_task("steers.replace", ("group",))
    values = result.get(timeout=60)
    assert [value[-1] for value in values] == [[1], [2]]
    assert {value[1] for value in values} == {result.id}


def test_the_step_after_a_replaced_task_gets_the_value_of_the_last_replacement(steers):
    canvas = steers.signature("steers.replace", ("chain",)) | steers.signature(
        "steers.add", (1000,)
    )
    assert canvas.apply_async().get(timeout=60) == 1113


def test_members_can_be_added_to_a_chord_that_runs(steers):
    header = [steers.signature("steers.extend", (n,)) for n in range(3)]
    canvas = group(header, app=steers) | steers.signature("steers.total")
    assert canvas.apply_async().get(timeout=60) == [0, 1, 2, 101, 102]


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_broker_gives_back_requeued_messages_and_drops_the_rest(make_app, broker):
    app = make_app(broker)

    @app.task(name="steers.requeue", bind=True, acks_late=True)
    def requeue(self):
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)
        return "second time"

    @app.task(name="steers.reject", acks_late=True)
    def reject():
        raise Reject("never", requeue=False)

    with app.worker(1):
        assert requeue.delay().get(timeout=30) == "second time"
        with pytest.raises(Reject, match="never"):
            reject.delay().get(timeout=30)
    with app.connection_for_read() as connection:
        left = app.queues[app.name](connection.default_channel).queue_declare()
    assert left.message_count == 0


def test_the_caller_gets_a_replacements_result_by_rpc(rabbitmq_url, tmp_path):
    queue = f"celerant-steers-{uuid.uuid4().hex[:8]}"
    code = MODULE.format(broker=rabbitmq_url, results="rpc://")
    (tmp_path / "celerant_steers_rpc.py").write_text(textwrap.dedent(code))
    environment = {"PYTHONPATH": str(tmp_path), "CELERANT_QUEUE": queue}
    worker = CelerantWorker(
        folder=tmp_path,
        module="celerant_steers_rpc:app",
        hostname=f"{queue}@localhost",
        pool="threads",
        environment={**os.environ, **environment},
    )
    app = Celerant(
        "steers", broker=rabbitmq_url, backend="rpc://", task_default_queue=queue
    )
    with worker, app:
        values = [
            app.send_task("steers.replace", (how,)).get(timeout=60)
            for how in ("task", "chain")
        ]
        assert values[0][-1] == ["x"]
        assert values[1] == 113
        assert app.send_task("steers.again", (2,)).get(timeout=60)[0] == 2
        with app.connection_for_write() as connection:
            connection.default_channel.queue_delete(queue)
