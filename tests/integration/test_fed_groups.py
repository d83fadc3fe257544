"""Groups that are fed and cancelled, on real brokers, with workers of both kinds."""

from __future__ import annotations

import asyncio
import threading

import pytest
import redis

from celerant import Celerant, group
from celerant.common.group_stamp import cancel_mark
from celerant.errors import CanvasError, TaskRevoked
from harness import services
from harness.until import until

BROKERS = ["redis", "rabbitmq"]
pytestmark = pytest.mark.timeout(120)


def noting(app, runs):
    @app.task(name="fed.note")
    def note(index):
        runs.note(index)
        return index

    return note


@pytest.mark.parametrize("broker", BROKERS)
def test_each_member_runs_once_and_the_window_holds(make_app, runs, broker):
    app = make_app(broker)
    note = noting(app, runs)
    most, window = [0], 50

    def members():
        for index in range(1500):
            most[0] = max(most[0], result.members.barrier.remaining)
            yield note.s(index)

    with app.worker(concurrency=4):
        go = threading.Event()

        def late():
            go.wait()
            yield from members()

        result = group(late(), app=app).apply_async(window=window)
        go.set()
        assert result.get(timeout=60) == list(range(1500))
    assert runs.seen() == list(range(1500))
    assert 0 < most[0] <= window
    assert result.report.complete


@pytest.mark.rabbitmq
def test_a_group_is_fed_by_replies_alone(rabbitmq_url, runs, queue):
    app = Celerant(
        queue, broker=rabbitmq_url, backend="rpc://", task_default_queue=queue
    )
    note = noting(app, runs)
    with app, app.worker(concurrency=2):
        result = group.map(note, range(600)).apply_async(window=20)
        assert result.get(timeout=60) == list(range(600))
    assert runs.seen() == list(range(600))


def test_a_broker_that_drops_its_connections_costs_no_member(
    redis_server, own_urls, runs, queue
):
    server = redis_server()
    app = Celerant(
        queue, broker=server.url(), backend=own_urls["results"], result_expires=600
    )
    note = noting(app, runs)
    with app, app.worker(concurrency=4), redis.Redis.from_url(server.url()) as client:
        result = group(note.s(i) for i in range(3000)).apply_async(window=100)
        for count in range(300, 2700, 300):
            until(lambda at=count: len(result.members.barrier) > at, 60)
            client.client_kill_filter(_type="normal", skipme=True)
        assert result.get(timeout=60) == list(range(3000))
    assert runs.seen() == list(range(3000))
    assert result.source_error is None


@pytest.mark.parametrize("broker", BROKERS)
def test_an_async_iterable_feeds_a_group(make_app, runs, broker):
    app = make_app(broker)
    note = noting(app, runs)

    async def members():
        for index in range(800):
            if index % 100 == 0:
                await asyncio.sleep(0)
            yield note.s(index)

    async def main():
        result = await group(members(), app=app).asend(window=30)
        return await result

    with app.worker(concurrency=4):
        assert asyncio.run(main()) == list(range(800))
    assert runs.seen() == list(range(800))


@pytest.mark.parametrize("broker", BROKERS)
def test_a_worker_that_runs_drops_what_is_cancelled(make_app, runs, broker):
    app = make_app(broker)
    go = threading.Event()

    @app.task(name="fed.wait")
    def wait(index):
        runs.note(index)
        go.wait(30)
        return index

    with app.worker(concurrency=2):
        result = group(wait.s(i) for i in range(5000)).apply_async(window=200)
        until(lambda: len(runs.seen()) == 2 and len(result.members.barrier) == 200)
        cancelled = result.cancel()
        assert cancelled.done == 0
        assert cancelled.running + cancelled.cancelled == len(result) == 200
        with pytest.raises(TaskRevoked):
            result.get(timeout=30)
        assert result.ready()
        go.set()
        # What comes behind them runs.
        assert wait.delay(-1).get(timeout=30) == -1
    assert len(runs.seen()) == 3
    ids = [result.roster.id(i) for i in range(200)]
    states = [app.backend.decode(r).get("status") for r in app.backend.fetch(ids)]
    assert states.count("REVOKED") == 198


@pytest.mark.parametrize("broker", BROKERS)
def test_a_worker_that_starts_later_learns_what_is_cancelled(make_app, runs, broker):
    app = make_app(broker)
    note = noting(app, runs)
    result = group(note.s(i) for i in range(300)).apply_async(cancellable=True)
    assert result.cancel() == (0, 0, 300)
    with app.worker(concurrency=4):
        assert note.delay(-1).get(timeout=30) == -1
    assert runs.seen() == [-1]


def test_a_handle_cancels_too(make_app, own_urls, runs):
    app = make_app("redis")
    note = noting(app, runs)
    sent = group(note.s(i) for i in range(300)).apply_async(cancellable=True)
    with Celerant(
        app.name,
        broker=own_urls["redis"],
        backend=own_urls["results"],
        control_exchange=app.name,
        set_as_current=False,
    ) as other:
        attached = other.attach(sent.handle)
        assert attached.cancel() == (0, 0, 300)
        until(attached.ready)
    assert app.backend.take_aside(cancel_mark(sent.id))
    with app.worker(concurrency=4):
        assert note.delay(-1).get(timeout=30) == -1
    assert runs.seen() == [-1]


def test_a_stock_worker_drops_what_is_cancelled(
    redis_url, new_queue, celery_worker, runs
):
    queue = new_queue()
    celery_worker(broker=redis_url["broker"], backend=redis_url["backend"], queue=queue)
    app = Celerant(
        queue,
        broker=redis_url["broker"],
        backend=redis_url["backend"],
        task_default_queue=queue,
        result_expires=600,
    )
    with app:
        app.control.cancel_consumer(queue, reply=True, limit=1, timeout=20)
        add = app.signature("celerant_test.add", (1, 1))
        result = group(add for _ in range(500)).apply_async(window=100)
        until(lambda: len(result.members.barrier) >= 100, 30)
        result.cancel()
        with pytest.raises(TaskRevoked):
            result.get(timeout=30)
        app.control.add_consumer(queue, reply=True, limit=1, timeout=20)
        assert add.delay().get(timeout=60) == 2
        ids = [result.roster.id(i) for i in range(100)]
        states = [app.backend.decode(r).get("status") for r in app.backend.fetch(ids)]
    assert set(states) == {"REVOKED"}


def test_cancelling_a_million_is_one_message(make_app):
    app = make_app("redis")

    @app.task(name="fed.nothing")
    def nothing(index):
        return index

    told = []

    def tell(what, **how):
        told.append((what, how))

    app.backend.revoke_by_stamped_headers = tell
    result = group.map(nothing, range(100_000)).apply_async(cancellable=True)
    result.cancel()
    assert len(told) == 1
    with services.redis_client(7) as client:
        client.delete(app.conf.task_default_queue)


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("window", [None, 5])
def test_failed_members_run_once_more_and_their_results_come(
    make_app, runs, broker, window
):
    app = make_app(broker)
    good = threading.Event()

    @app.task(name="fed.careful")
    def careful(index):
        runs.note(index)
        if index % 3 == 0 and not good.is_set():
            raise ValueError(index)
        return index

    options = {"cancellable": True} if window is None else {"window": window}
    with app.worker(concurrency=4):
        members = group([careful.s(i) for i in range(90)])
        result = members.apply_async(**options)
        values = result.get(timeout=30, propagate=False)
        assert [isinstance(v, ValueError) for v in values] == [
            i % 3 == 0 for i in range(90)
        ]
        good.set()
        result.retry("failed")
        assert result.get(timeout=30) == list(range(90))
    assert runs.seen() == sorted([*range(90), *range(0, 90, 3)])


def test_a_handle_sends_members_once_more_from_their_source(make_app, own_urls, runs):
    app = make_app("redis")
    note = noting(app, runs)
    sent = group(note.s(i) for i in range(30)).apply_async(cancellable=True)
    sent.cancel()
    with Celerant(
        app.name,
        broker=own_urls["redis"],
        backend=own_urls["results"],
        task_default_queue=app.conf.task_default_queue,
        control_exchange=app.name,
        set_as_current=False,
    ) as other:
        attached = other.attach(sent.handle)
        attached.cancel()
        until(attached.ready)
        with app.worker(concurrency=2):
            # It drops what is cancelled, and what comes after that is done.
            assert note.delay(-1).get(timeout=30) == -1
        again = other.signature("fed.note", (7,))
        with pytest.raises(CanvasError, match=r"group\[0\].*source is another"):
            attached.retry("missing", source=[again] * 30)
        source = group(other.signature("fed.note", (i,)) for i in range(30))
        attached.retry("missing", source=source)
        with app.worker(concurrency=2):
            assert attached.get(timeout=30) == list(range(30))
    assert runs.seen() == list(range(-1, 30))


@pytest.mark.parametrize("broker", BROKERS)
def test_members_that_expire_in_the_queue_make_room_for_others(make_app, runs, broker):
    app = make_app(broker)
    note = noting(app, runs)
    members = group([note.s(i) for i in range(30)], app=app)
    result = members.apply_async(window=10, expires=0.5)
    until(lambda: len(result.members.barrier) == 10)
    # Longer than they live: a broker that dropped them would tell nobody.
    threading.Event().wait(1)
    with app.worker(concurrency=2):
        result.wait(timeout=30)
        assert result.sealed
    counts = result.counts()
    assert counts["REVOKED"] + counts["EXPIRED"] + counts["SUCCESS"] == 30
    assert counts["SUCCESS"] < 30
