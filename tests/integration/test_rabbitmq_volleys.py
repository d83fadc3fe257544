"""Messages out of RabbitMQ in volleys: nothing is lost, whatever happens in between.

Tasks are counted by their index, in a Redis of the test's own.
"""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from kombu import Connection, Producer

from celerant import Celerant, group
from harness import services
from harness.tcp_proxy import TcpProxy
from harness.until import until
from harness.volleys import HELD, SLOTS, Volleys, kill_9

pytestmark = [pytest.mark.usefixtures("rabbitmq_url"), pytest.mark.timeout(90)]

TASKS = """
    @app.task(name="volleys.size", acks_late=True)
    def size(index, text):
        store.rpush("runs", index)
        return len(text)

    @app.task(name="volleys.fail", acks_late=True, acks_on_failure=False)
    def fail(index):
        store.rpush("runs", index)
        raise ValueError(index)
"""


@pytest.fixture(params=["redis", "rpc"])
def place(request, redis_server, new_queue, tmp_path):
    """A queue of RabbitMQ, an app that sends to it, and workers of it."""
    counts, queue = redis_server(), new_queue()
    results = redis_server(options={"appendonly": "yes", "appendfsync": "always"})
    backend = results.url() if request.param == "redis" else "rpc://"
    told = counts.client()
    app = Celerant("volleys", broker=services.RABBITMQ, backend=backend)
    app.conf.task_default_queue = queue
    volleys = Volleys(app, tmp_path, TASKS, counts.url())

    def worker(concurrency=SLOTS, *, broker=services.RABBITMQ, pool="threads"):
        return volleys.worker(concurrency, pool, broker, backend)

    def waiting():
        with Connection(services.RABBITMQ) as connection:
            channel = connection.default_channel
            return channel.queue_declare(queue, passive=True).message_count

    with app:
        yield SimpleNamespace(
            app=app,
            queue=queue,
            results=results,
            worker=worker,
            send=volleys.send,
            waiting=waiting,
            **volleys.told_by(told),
        )
    told.close()


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize("holder", ["hold", "hold_early"])
def test_messages_of_a_killed_worker_that_had_not_started_run_elsewhere(
    place, holder, pool
):
    is_late = holder == "hold"
    with place.worker(concurrency=1, pool=pool) as first:
        held = place.send(holder, 1)
        until(lambda: place.runs() == {0: 1})
        result = place.send("early", 20, start=1)
        # It holds all of them: as many as it may.
        until(lambda: place.waiting() == 0)
        place.app.control.ping(timeout=0.2)
        kill_9(first)
    place.let_go()
    with place.worker():
        assert result.get(timeout=60) == list(range(1, 21))
        if is_late:
            assert held.get(timeout=60) == [0]
    # A task that had begun and was acknowledged before is lost, as it is in Celery.
    assert place.runs() == {0: 1 + is_late, **dict.fromkeys(range(1, 21), 1)}


@pytest.mark.parametrize("pool", ["threads", "processes"])
@pytest.mark.parametrize("task", ["early", "late"])
def test_a_worker_killed_in_the_middle_loses_none(place, task, pool):
    count = 600
    with place.worker(pool=pool) as first:
        result = place.send(task, count)
        until(lambda: place.begun() > 100)
        kill_9(first)
    # What ran at that moment was acknowledged before, or its result was about to leave:
    # that is lost, as in Celery.
    lost = 2 * SLOTS if task == "early" else 0
    with place.worker():
        until(lambda: result.completed_count() >= count - lost, 25)
        until(lambda: place.waiting() == 0)
    runs = place.runs()
    # An early one may be lost before its first line.
    assert len(runs) >= count - lost
    assert max(runs.values()) <= 2
    # Twice ran no more than those that were not acknowledged yet: what was held.
    assert sum(times == 2 for times in runs.values()) <= SLOTS * HELD


def test_a_connection_that_is_cut_in_the_middle_loses_none(place):
    count = 600
    url = services.RABBITMQ
    with TcpProxy(services.RABBITMQ_PORT) as proxy:
        url = url.replace(f":{services.RABBITMQ_PORT}", f":{proxy.port}")
        with place.worker(broker=url) as worker:
            result = place.send("late", count)
            until(lambda: place.begun() > 100)
            proxy.cut()
            assert result.get(timeout=60) == list(range(count))
            until(lambda: any("connected again" in line for line in worker.log))
    runs = place.runs()
    assert set(runs) == set(range(count))
    assert sum(times - 1 for times in runs.values()) <= SLOTS * HELD
    assert place.waiting() == 0


# With rpc the reply goes the way of the acknowledgement.
@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_a_result_that_is_stored_and_not_acknowledged_may_run_twice_and_is_there(place):
    url = services.RABBITMQ
    with TcpProxy(services.RABBITMQ_PORT) as proxy:
        url = url.replace(f":{services.RABBITMQ_PORT}", f":{proxy.port}")
        with place.worker(concurrency=1, broker=url) as first:
            result = place.send("hold", 1)
            until(lambda: place.runs() == {0: 1})
            # Nothing that it says to the broker arrives from here on.
            proxy.watch(lambda *_: True)
            place.let_go()
            assert result.get(timeout=60) == [0]
            kill_9(first)
    for _ in range(2):
        # It may have got the message once more before it was killed.
        place.let_go()
    with place.worker():
        until(lambda: place.runs()[0] >= 2, 30)
        until(lambda: place.waiting() == 0)
    assert place.runs()[0] <= 3
    assert result.get(timeout=10) == [0]


def test_a_worker_holds_no_more_than_its_prefetch_count(place):
    with place.worker(concurrency=1):
        place.send("hold", 100)
        until(lambda: place.runs() == {0: 1})
        until(lambda: place.waiting() == 100 - HELD)
        place.let_go()
        until(lambda: place.runs() == {0: 1, 1: 1})
        # Acknowledged when its result is stored.
        until(lambda: place.waiting() == 99 - HELD)
        for _ in range(98):
            place.let_go()
        until(lambda: place.begun() == 100)


def test_a_stop_gives_back_unstarted_messages_at_once(place):
    with place.worker(concurrency=1) as worker:
        running = place.send("hold", 1)
        until(lambda: place.runs() == {0: 1})
        result = place.send("late", 40, start=1)
        until(lambda: place.waiting() == 40 - (HELD - 1))
        worker.process.send_signal(signal.SIGTERM)
        # While its task goes on.
        until(lambda: place.waiting() == 40)
        place.let_go()
        assert running.get(timeout=30) == [0]
        assert worker.process.wait(30) == 0
    with place.worker(concurrency=1):
        assert result.get(timeout=30) == list(range(1, 41))
    assert place.runs() == dict.fromkeys(range(41), 1)


@pytest.mark.parametrize(
    "poison",
    [
        {"body": b"nonsense", "headers": {"task": "volleys.early", "id": "p"}},
        {"body": b"[[], {}, {}]", "headers": {}},
        {"body": b"[[], {}, {}]", "headers": {"task": "volleys.none", "id": "p"}},
        {"body": b"", "headers": {"task": "volleys.early", "id": "p"}},
    ],
)
def test_a_broken_message_among_many_good_ones_is_refused_alone(place, poison):
    first = place.send("early", 50)
    with Connection(services.RABBITMQ) as connection:
        Producer(connection).publish(
            poison["body"],
            routing_key=place.queue,
            headers=poison["headers"],
            content_type="application/json",
            content_encoding="utf-8",
        )
    second = place.send("early", 50, start=50)
    with place.worker() as worker:
        assert first.get(timeout=60) == list(range(50))
        assert second.get(timeout=60) == list(range(50, 100))
        until(lambda: sum("refused" in line for line in worker.log) == 1)
        until(lambda: place.waiting() == 0)
    assert place.runs() == dict.fromkeys(range(100), 1)


def test_failures_are_rejected_and_stored_once(place):
    result = place.send("fail", 200)
    with place.worker():
        errors = result.get(timeout=60, propagate=False)
        assert [str(error) for error in errors] == [str(n) for n in range(200)]
    assert place.runs() == dict.fromkeys(range(200), 1)
    assert place.waiting() == 0


def test_large_messages_come_among_small_ones(place):
    # Less than what is read at once, several frames, and far more than waits whole.
    sizes = [10, 100_000, 300_000, 20, 5_000_000, 30, 1_100_000, 40]
    members = [
        place.app.signature("volleys.size", (index, "x" * size))
        for index, size in enumerate(sizes)
    ]
    result = group(members).apply_async()
    with place.worker():
        assert result.get(timeout=60) == sizes
    assert place.runs() == dict.fromkeys(range(len(sizes)), 1)
    assert place.waiting() == 0


@pytest.mark.parametrize("place", ["redis"], indirect=True)
def test_a_result_store_that_is_away_for_a_while_costs_nothing(place):
    count = 600
    with place.worker() as worker:
        result = place.send("early", count)
        until(lambda: place.begun() > 100)
        place.results.kill()
        # Some twenty seconds: the store's own retry policy comes first.
        until(lambda: any("backend is away" in line for line in worker.log), 40)
        place.results.__enter__()
        assert result.get(timeout=60) == list(range(count))
        until(lambda: place.waiting() == 0)
    assert place.runs() == dict.fromkeys(range(count), 1)
