"""Chords that stock Celery sends, completed by workers of several kinds together."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from types import SimpleNamespace

import celery
import pytest
import redis
from celery.exceptions import ChordError

from harness.canvas_tasks import define_canvas_tasks
from harness.celerant_worker import CelerantWorker
from harness.celery_worker import CeleryWorker
from harness.older_celery import install_celery
from harness.stock_client import stock_client
from harness.until import until

pytestmark = pytest.mark.timeout(120)
WAIT = 30
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def python_of(pytestconfig):
    """Return the Python that has a version of Celery: this one has 5.7."""

    def find(version):
        if version == "5.7":
            assert celery.__version__.startswith("5.7")
            return None
        folder = pytestconfig.cache.mkdir(f"celery-{version}")
        return install_celery(folder / "venv", f"{version}.*")

    return find


@pytest.fixture
def shop(make_app, own_urls, request):
    """A stock client, and an embedded worker for the queue that it sends to.

    `shop.peer(version, queue=)` starts a stock worker beside it.
    """
    options = getattr(request, "param", {})
    app = make_app("redis")
    settings = {
        "result_extended": True,
        "worker_prefetch_multiplier": 1,
        "result_backend_transport_options": options,
    }
    app.conf.update(settings)
    define_canvas_tasks(app, own_urls["results"])
    queue = app.conf.task_default_queue
    with contextlib.ExitStack() as stack:
        stock = stack.enter_context(
            stock_client(
                broker=own_urls["redis"],
                backend=own_urls["results"],
                queue=queue,
                **settings,
            )
        )
        tasks = define_canvas_tasks(stock, own_urls["results"], shared=False)

        def peer(python, queue=queue):
            worker = CeleryWorker(
                broker=own_urls["redis"],
                backend=own_urls["results"],
                queue=queue,
                module="harness.stock_canvas_worker:app",
                # The queue of its own chords' bodies.
                settings={**settings, "task_default_queue": app.name},
                **({} if python is None else {"python": python}),
            )
            return stack.enter_context(worker)

        with redis.Redis.from_url(
            own_urls["results"], socket_timeout=2 * WAIT
        ) as client:
            made = Shop(app, stock, tasks, client, peer)
            yield made
            client.delete(*made.keys, *client.keys(f"*{made.key}*"))


class Shop(SimpleNamespace):
    def __init__(self, app, stock, tasks, client, peer):
        super().__init__(app=app, stock=stock, client=client, peer=peer, **vars(tasks))
        self.key = f"celerant-test-{uuid.uuid4().hex}"
        self.keys = [self.key]

    def chord(self, header, body):
        return celery.chord(header, body, app=self.stock)

    def told(self):
        """Return the notes of the tasks so far."""
        return [json.loads(entry) for entry in self.client.lrange(self.key, 0, -1)]

    def next_told(self):
        """Wait for a task's note, and take it."""
        found = self.client.blpop([self.key], WAIT)
        assert found is not None
        return json.loads(found[1])

    def left(self, group_id):
        """Return the remaining keys of a chord, by their last letters."""
        keys = self.client.keys(f"*celery-taskset-meta-{group_id}*")
        return sorted(key.decode()[-2:] for key in keys)

    def settle(self):
        """Wait until all that was sent so far has begun."""
        for _ in range(4):
            assert self.add.delay(1, 1).get(timeout=WAIT) == 2


def group_id_of(result):
    return result.parent.id


WORKERS = ["embedded", "5.7", "5.6"]


def serve(shop, workers, python_of):
    """Start the workers of the queue; one slot each if there are two."""
    if workers == "embedded":
        return shop.app.worker(concurrency=2)
    shop.peer(python_of(workers))
    return shop.app.worker(concurrency=1)


@pytest.mark.parametrize("workers", WORKERS)
def test_the_body_gets_the_values_in_order_exactly_once(shop, workers, python_of):
    count = 12
    with serve(shop, workers, python_of):
        for run in range(5):
            header = [shop.meet.s(f"{shop.key}.{run}", n) for n in range(count)]
            result = shop.chord(header, shop.gather.s(shop.key)).apply_async()
            assert result.get(timeout=WAIT) == list(range(count))
            records = [part._get_task_meta() for part in result.parent.results]
            names = {record["worker"] for record in records}
            # No worker passes the first two tasks alone: both have run some.
            assert len(names) == (1 if workers == "embedded" else 2)
            group_id = group_id_of(result)
            # 5.6 leaves unknown keys to expire.
            until(lambda g=group_id: not {".j", ".s", ".t"} & {*shop.left(g)}, WAIT)
        shop.settle()
    assert len(shop.told()) == 5


@pytest.mark.parametrize("version", ["5.7", "5.6"])
@pytest.mark.parametrize("last", ["embedded", "stock"])
def test_either_kind_of_worker_completes_chords_of_the_other(
    shop, version, last, python_of
):
    theirs = f"{shop.app.name}-theirs"
    shop.peer(python_of(version), queue=theirs)
    ours = shop.app.conf.task_default_queue
    first, second = (theirs, ours) if last == "embedded" else (ours, theirs)
    gate = f"{shop.key}.gate"
    with shop.app.worker(concurrency=1):
        header = [
            shop.gate.s(gate, "last").set(queue=second),
            shop.add.s("fir", "st").set(queue=first),
        ]
        body = shop.gather.s(shop.key)
        result = shop.chord(header, body).apply_async()
        key = f"celery-taskset-meta-{group_id_of(result)}.j"
        until(lambda: shop.client.zcard(key) == 1, WAIT)
        shop.client.rpush(gate, "go")
        assert result.get(timeout=WAIT) == ["last", "first"]
    # The body's parent is the task whose worker sent it.
    record = result._get_task_meta()
    assert record["parent_id"] == result.parent.results[0].id
    assert shop.told() == [["gathered", ["last", "first"]]]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_failure_fails_the_body_and_tells_its_errbacks(shop, workers, python_of):
    with serve(shop, workers, python_of):
        body = shop.gather.s(shop.key)
        body.link_error(shop.on_failure.s(key=shop.key))
        body.link_error(shop.on_id.s(key=shop.key))
        header = [shop.add.s(1, 1), shop.fail.s("no", 3), shop.add.s(2, 2)]
        result = shop.chord(header, body).apply_async()
        bad = result.parent.results[1].id
        error = f"Dependency {bad} raised ValueError('no', 3)"
        told = sorted(shop.next_told() for _ in range(2))
        # Not by `result.get`, which raises the error of a parent first.
        until(lambda: result.state == "FAILURE", WAIT)
        assert type(result.result) is ChordError
        assert result.result.args == (error,)
        shop.settle()
    called = ["called", result.id, f"ChordError({error!r})", False]
    assert told == [called, ["sent", result.id]]
    assert shop.told() == []


# 5.6 fails them only in part.
@pytest.mark.parametrize("workers", ["embedded", "5.7"])
def test_members_of_a_groups_body_fail_with_the_headers_error(shop, workers, python_of):
    with serve(shop, workers, python_of):
        body = celery.group([shop.add.s(n) for n in (1, 2)], app=shop.stock)
        result = shop.chord([shop.fail.s("no"), shop.add.s(1, 1)], body).apply_async()
        for member in result.results:
            until(lambda m=member: m.state == "FAILURE", WAIT)
            assert type(member.result) is ValueError


@pytest.mark.parametrize("workers", WORKERS)
def test_chains_groups_and_chords_in_a_header_are_completed(shop, workers, python_of):
    add = shop.add
    with serve(shop, workers, python_of):
        header = [
            add.s(1, 1) | add.s(1),
            add.s(2, 2),
            celery.chain(add.s(3, 3), celery.group(add.s(10), add.s(20))),
            celery.chord([add.s(n, 0) for n in (1, 2)], shop.gather.s(f"{shop.key}.x")),
        ]
        result = shop.chord(header, shop.gather.s(shop.key)).apply_async()
        assert result.get(timeout=WAIT) == [3, 4, [16, 26], [1, 2]]


@pytest.mark.parametrize(
    "shop",
    [{"result_chord_ordered": False}, {"global_keyprefix": "celerant-test-prefix"}],
    ids=["list", "prefix"],
    indirect=True,
)
@pytest.mark.parametrize("workers", WORKERS)
def test_lists_and_prefixes_are_shared_too(shop, workers, python_of):
    with serve(shop, workers, python_of):
        header = [shop.meet.s(f"{shop.key}.m", n) for n in range(8)]
        result = shop.chord(header, shop.gather.s(shop.key)).apply_async()
        assert sorted(result.get(timeout=WAIT)) == list(range(8))
        shop.settle()
    assert len(shop.told()) == 1


def test_a_part_that_comes_twice_counts_once_beside_celerys_own_count(shop):
    """Celery's backend and ours count one chord, each task delivered to both."""
    group_id = str(uuid.uuid4())
    theirs, ours = shop.stock.backend, shop.app.backend
    theirs.set_chord_size(group_id, 3)
    body = shop.gather.s(shop.key)
    for index, task_id in enumerate("ab"):
        context = celery.app.task.Context(
            id=task_id, group=group_id, group_index=index, chord=dict(body)
        )
        theirs.on_chord_part_return(context, "SUCCESS", index)
        # The outcome of another run of it is not counted.
        assert ours.on_chord_part(context, "SUCCESS", index + 100) is None
    last = celery.app.task.Context(
        id="c", group=group_id, group_index=2, chord=dict(body)
    )
    chord = ours.on_chord_part(last, "SUCCESS", 2)
    assert chord.values() == [0, 1, 2]
    # Ours has the claim, so Celery's sends no body.
    theirs.on_chord_part_return(last, "SUCCESS", 2)
    assert shop.client.llen(shop.app.conf.task_default_queue) == 0
    assert chord.renew(5)
    assert chord.finish()
    theirs.on_chord_part_return(last, "SUCCESS", 2)
    assert shop.left(group_id) == [".c"]
    assert shop.client.get(f"celery-taskset-meta-{group_id}.c") == b"done"


def test_the_keys_of_a_chord_expire(shop):
    app, client = shop.app, shop.client
    group_id = str(uuid.uuid4())
    app.conf.result_chord_expires = 100
    backend = app.backend
    backend.save_group(group_id, ((group_id, None), []))
    backend.set_chord_size(group_id, 2)
    backend.add_to_chord(group_id)
    context = celery.app.task.Context(id="a", group=group_id, group_index=0)
    backend.on_chord_part(context, "SUCCESS", 1)
    lives = {
        s: client.ttl(f"celery-taskset-meta-{group_id}{s}")
        for s in (".j", ".s", ".t", ".d")
    }
    assert all(90 < ttl <= 100 for ttl in lives.values()), lives
    # A saved header is a result, too.
    assert 590 < client.ttl(f"celery-taskset-meta-{group_id}") <= 600


def test_sizes_of_many_chords_are_one_round_trip(shop, monkeypatch):
    client = shop.app.backend._client
    executed = []
    send = client.pipeline().__class__.execute

    def execute(self, *args):
        executed.append(len(self))
        return send(self, *args)

    monkeypatch.setattr(client.pipeline().__class__, "execute", execute)
    sizes = {f"{shop.key}-{n}": n for n in range(1, 50)}
    shop.app.backend.set_chord_sizes(sizes)
    assert executed == [2 * len(sizes)]
    assert shop.client.get(f"celery-taskset-meta-{shop.key}-7.s") == b"7"
    executed.clear()
    shop.app.backend.set_chord_sizes({})
    assert executed == []


def test_a_pool_of_processes_goes_on_too(shop, own_urls):
    environment = {
        **os.environ,
        "PYTHONPATH": str(TESTS),
        "CELERANT_TEST_NAME": shop.app.name,
        "CELERANT_TEST_BROKER": own_urls["redis"],
        "CELERANT_TEST_BACKEND": own_urls["results"],
    }
    with CelerantWorker(
        folder=TESTS,
        module="harness.embedded_canvas_worker",
        hostname="processes@localhost",
        environment=environment,
    ):
        chain = shop.add.s(1, 2) | shop.add.s(3) | shop.add.s(4)
        assert chain.apply_async().get(timeout=WAIT) == 10
        header = [shop.add.s(n, n) for n in range(10)]
        result = shop.chord(header, shop.gather.s(shop.key)).apply_async()
        assert result.get(timeout=WAIT) == list(range(0, 20, 2))
        shop.next_told()
        # Counted and passed on although the record has no value.
        ignoring = [shop.add.s(n, n).set(ignore_result=True) for n in range(3)]
        shop.chord(ignoring, shop.gather.s(shop.key)).apply_async()
        assert shop.next_told() == ["gathered", [0, 2, 4]]
        failing = shop.fail.s("no")
        failing.link_error(shop.on_failure.s(key=shop.key))
        failed = failing.apply_async()
        assert shop.next_told() == ["called", failed.id, "ValueError('no')", True]
