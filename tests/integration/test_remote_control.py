"""Remote control of the embedded worker, by Celery's clients and by ours."""

from __future__ import annotations

import threading
import uuid

import pytest
from kombu import Exchange

from celerant import Celerant, group
from celerant.errors import TaskRevoked
from harness.inside import redis_socket

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["redis", "rabbitmq"])
def app(request, make_app):
    return make_app(request.param)


@pytest.fixture
def stock(app):
    """A stock client on the same broker."""
    with app.to_celery() as made:
        yield made


def test_celery_inspect_sees_the_embedded_worker(app, stock):
    entered, gate = threading.Event(), threading.Event()

    @app.task(name="h6.wait")
    def wait(x):
        entered.set()
        return gate.wait(30)

    with app.worker(concurrency=1, hostname="here@test") as worker:
        inspect = stock.control.inspect(destination=["here@test"], timeout=10)
        assert inspect.ping() == {"here@test": {"ok": "pong"}}
        result, later = wait.delay({"a": 1}), wait.apply_async((2,), countdown=600)
        queued = wait.delay(3)
        assert entered.wait(20)
        (running,) = inspect.active()["here@test"]
        assert (running["id"], running["name"]) == (result.id, "h6.wait")
        assert running["args"] == [{"a": 1}]
        assert running["hostname"] == "here@test"
        (held,) = inspect.scheduled()["here@test"]
        assert held["request"]["id"] == later.id
        (waiting,) = inspect.reserved()["here@test"]
        assert waiting["id"] == queued.id
        stats = inspect.stats()["here@test"]
        assert stats["total"] == {"h6.wait": 1}
        assert stats["pool"]["max-concurrency"] == 1
        assert "password" not in stats["broker"]
        (queue,) = inspect.active_queues()["here@test"]
        assert queue["name"] == app.name
        assert inspect.registered()["here@test"] == ["h6.wait"]
        assert inspect.revoked() == {"here@test": []}
        gate.set()
        assert queued.get(timeout=20) is True
        assert worker.is_running


def test_ping_reaches_the_named_workers(app):
    with app.worker(hostname="one@test"), app.worker(hostname="two@test"):
        heard = app.control.ping(timeout=2)
        assert sorted(next(iter(answer)) for answer in heard) == [
            "one@test",
            "two@test",
        ]
        assert app.control.ping(["two@test"], timeout=10) == [
            {"two@test": {"ok": "pong"}}
        ]


def test_two_workers_of_one_name_both_hear(app):
    with app.worker(hostname="same@test"), app.worker(hostname="same@test"):
        assert app.control.ping(timeout=2) == [{"same@test": {"ok": "pong"}}] * 2


def test_remote_control_still_hears_after_a_lost_connection(app):
    @app.task(name="h6.echo")
    def echo(x):
        return x

    with app.worker(hostname="here@test") as worker:
        source = worker._source
        assert echo.delay(1).get(timeout=20) == 1
        before = source._generation
        _cut(source)
        while source._generation == before:
            assert app.control.ping(["here@test"], timeout=1) is not None
        assert app.control.ping(["here@test"], timeout=10)


def _cut(source):
    if source._connection.transport.driver_type == "amqp":
        source._connection.connection.sock.shutdown(2)
    else:
        redis_socket(source).shutdown(2)


def test_remote_control_survives_broken_messages(app, caplog):
    with app.worker(hostname="here@test"):
        answers = app.control.broadcast("no_such", reply=True, timeout=1)
        assert "no_such" in answers[0]["here@test"]["error"]
        answers = app.control.broadcast("revoke", {"nope": 1}, reply=True, timeout=1)
        assert "task_id" in answers[0]["here@test"]["error"]
        with app.connection_for_write() as connection:
            exchange = Exchange(f"{app.name}.pidbox", "fanout", durable=False)
            producer = connection.Producer()
            for body in (["not", "an", "object"], "text", {}, {"method": 7}):
                producer.publish(body, exchange=exchange, declare=[exchange])
            producer.publish(
                b"\xff{", exchange=exchange, content_type="application/json"
            )
        assert app.control.ping(["here@test"], timeout=10)
    assert "lost" not in caplog.text


def test_shutdown_stops_the_worker_after_the_running_tasks(app):
    entered, gate = threading.Event(), threading.Event()

    @app.task(name="h6.wait")
    def wait():
        entered.set()
        return gate.wait(30)

    with app.worker(concurrency=1, hostname="here@test") as worker:
        thread, result = worker._thread, wait.delay()
        assert entered.wait(20)
        app.control.shutdown(["here@test"])
        gate.set()
        thread.join(20)
        assert not thread.is_alive()
        assert result.get(timeout=5) is True


def test_many_ids_go_as_few_broadcasts(app, monkeypatch):
    sent = []

    def broadcast(_control, _command, arguments, *_more, **_options):
        sent.append(arguments["task_id"])
        return [{"here": len(sent)}]

    monkeypatch.setattr("celerant.app.control.Control.broadcast", broadcast)
    answers = app.control.revoke(f"id-{i}" for i in range(10_001))
    assert list(map(len, sent)) == [5000, 5000, 1]
    assert answers == [{"here": 1}, {"here": 2}, {"here": 3}]


def test_purge_discards_waiting_messages_and_returns_their_number(app):
    ran = []

    @app.task(name="h6.echo")
    def echo(x):
        ran.append(x)
        return x

    assert app.control.purge() == 0
    group(echo.s(i) for i in range(7))()
    assert app.control.purge() == 7
    with app.worker(concurrency=1):
        assert echo.delay("after").get(timeout=20) == "after"
    assert ran == ["after"]


def test_memory_needs_no_broker():
    with Celerant(f"celerant-h6-{uuid.uuid4().hex[:8]}") as app:

        @app.task
        def echo(x):
            return x

        with app.worker(concurrency=1, hostname="here@test"):
            assert app.control.ping() == [{"here@test": {"ok": "pong"}}]
            assert app.control.ping(["else@test"]) == []
            assert app.control.ping(pattern="else*", matcher="glob") == []
            assert app.control.ping(pattern="here*", matcher="glob")
            assert app.control.inspect("here@test").ping() == {"ok": "pong"}
            assert app.control.inspect(pattern="else*").ping() is None
            heard = []
            assert app.control.ping(limit=1, callback=heard.append) == heard != []
            with pytest.raises(ValueError, match=r"\['here@test'\]"):
                app.control.ping("here@test")
            held = echo.apply_async((1,), countdown=3600)
            app.control.revoke(held.id)
            with pytest.raises(TaskRevoked):
                held.get(timeout=20)
            assert echo.delay(2).get(timeout=20) == 2


def test_a_groups_result_revokes_its_members(app):
    entered, gate = threading.Event(), threading.Event()

    @app.task(name="h6.block")
    def block():
        entered.set()
        gate.wait(30)

    @app.task(name="h6.never")
    def never(x):
        return x

    with app.worker(concurrency=1):
        block.delay()
        assert entered.wait(20)
        # One slot, taken: these wait in the worker or in the queue.
        result = group([never.s(i) for i in range(5)]).apply_async()
        result.revoke()
        # The worker answers in order, so it has heard of them by now.
        assert app.control.ping(timeout=3)
        gate.set()
        values = result.get(timeout=30, propagate=False)
    assert all(isinstance(value, TaskRevoked) for value in values)


def test_purge_of_memory_discards_waiting_messages():
    with Celerant(f"celerant-h6-{uuid.uuid4().hex[:8]}") as app:

        @app.task
        def echo(x):
            return x

        assert app.control.purge() == 0
        lost = group(echo.s(i) for i in range(7))()
        assert app.control.purge() == 7
        with app.worker(concurrency=1):
            assert echo.delay(2).get(timeout=20) == 2
        assert lost.completed_count() == 0
