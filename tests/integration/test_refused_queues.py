"""A queue that RabbitMQ refuses costs itself alone, whenever that turns out."""

from __future__ import annotations

import socket

import pytest
from kombu import Connection, Queue

from celerant.worker import consumed_queues
from celerant.worker.declaring import declare
from harness import services
from harness.inside import connections_made, hears, worker_socket
from harness.until import until

pytestmark = pytest.mark.timeout(120)

WAIT = 20


@pytest.fixture
def shop(make_app, new_queue):
    """An app, and a queue beside its own that others declare otherwise."""
    app = make_app("rabbitmq")

    @app.task(name="refused.ok")
    def ok():
        return "ok"

    other = new_queue()
    with Connection(services.RABBITMQ) as connection:
        _declare_otherwise(connection, other)
        yield app, ok, other, connection


def _declare_otherwise(connection, name):
    Queue(name, queue_arguments={"x-max-length": 5})(
        connection.default_channel
    ).declare()


def _told(app, command, **arguments):
    (reply,) = app.control.broadcast(
        command, arguments, reply=True, timeout=10, limit=1
    )
    (answer,) = reply.values()
    return answer


def test_a_refused_queue_is_answered_with_an_error_and_forgotten(shop):
    app, ok, other, _ = shop
    with app.worker(concurrency=1) as worker:
        for _ in range(3):
            answer = _told(app, "add_consumer", queue=other)
            assert "refuses queue" in answer["error"]
            assert other in answer["error"]
            assert ok.delay().get(timeout=WAIT) == "ok"
        assert other not in app.queues
        assert connections_made(worker) == 1
        assert "no longer" in _told(app, "cancel_consumer", queue=other)["ok"]
        assert ok.delay().get(timeout=WAIT) == "ok"


def test_a_command_that_comes_while_another_waits_is_handled_after_it(
    shop, monkeypatch
):
    app, _, other, _ = shop
    order = []
    with app.worker(concurrency=1) as worker:
        handle = worker.panel.handle

        def noted(command, arguments):
            order.append(f"{command} begins")
            answer = handle(command, arguments)
            order.append(f"{command} ends")
            return answer

        def slow(connection, queue):
            app.control.broadcast("ping")
            connection.drain_events(timeout=WAIT)
            declare(connection, queue)

        monkeypatch.setattr(worker.panel, "handle", noted)
        monkeypatch.setattr(consumed_queues, "declare", slow)
        assert "refuses" in _told(app, "add_consumer", queue=other)["error"]
        until(lambda: "ping ends" in order)
    commands = [line for line in order if not line.startswith("hello")]
    assert commands == [
        "add_consumer begins",
        "add_consumer ends",
        "ping begins",
        "ping ends",
    ]


def test_a_queue_refused_at_the_start_is_named(shop):
    app, _, other, _ = shop
    worker = app.worker(concurrency=1, queues=[app.name, other])
    with pytest.raises(ConnectionError, match=other):
        worker.start()
    assert not worker.is_running


def test_a_queue_that_may_not_be_read_is_refused_at_the_start(shop):
    app, ok, _, _ = shop
    with Connection(services.RABBITMQ) as connection:
        # An exclusive consumer keeps others from reading it, not from declaring it.
        queue = app.queues[app.name]
        queue(connection.default_channel).declare()
        connection.default_channel.basic_consume(app.name, "held", exclusive=True)
        worker = app.worker(concurrency=1)
        with pytest.raises(ConnectionError, match="exclusive"):
            worker.start()
        assert not worker.is_running
    with app.worker(concurrency=1):
        assert ok.delay().get(timeout=WAIT) == "ok"


def test_a_queue_that_may_not_be_read_is_refused_once_when_added(shop, caplog):
    app, ok, _, connection = shop
    held = f"{app.name}-held"
    Queue(held, auto_delete=True)(connection.default_channel).declare()
    connection.default_channel.basic_consume(held, "held", exclusive=True)
    with app.worker(concurrency=1) as worker:
        _told(app, "add_consumer", queue=held, auto_delete=True)
        assert ok.delay().get(timeout=WAIT) == "ok"
        assert held not in [queue.name for queue in worker._source.queues()]
        assert connections_made(worker) <= 2


def test_a_queue_refused_on_the_way_back_leaves_the_others(shop, new_queue, caplog):
    app, ok, _, connection = shop
    second = new_queue()
    with app.worker(concurrency=1, queues=[app.name, second]) as worker:
        assert ok.apply_async(queue=second).get(timeout=WAIT) == "ok"
        connection.default_channel.queue_delete(second)
        _declare_otherwise(connection, second)
        # Deleted under its consumer, which RabbitMQ tells and kombu takes for a loss.
        until(lambda: "the broker refuses queue" in caplog.text, WAIT)
        assert ok.delay().get(timeout=WAIT) == "ok"
        assert worker.is_running


def test_a_queue_deleted_under_its_consumer_is_made_again(shop):
    app, ok, _, connection = shop
    with app.worker(concurrency=1) as worker:
        assert ok.delay().get(timeout=WAIT) == "ok"
        connection.default_channel.queue_delete(app.name)
        until(lambda: connections_made(worker) >= 2 and hears(worker), WAIT)
        assert ok.delay().get(timeout=WAIT) == "ok"


def test_a_connection_that_an_answer_has_made_anew_is_consumed(shop, monkeypatch):
    app, ok, _, _ = shop
    with app.worker(concurrency=1) as worker:
        handle = worker.panel.handle

        def cut(command, arguments):
            worker_socket(worker).shutdown(socket.SHUT_RDWR)
            return handle(command, arguments)

        monkeypatch.setattr(worker.panel, "handle", cut)
        app.control.broadcast("ping", reply=True, timeout=2, limit=1)
        monkeypatch.undo()
        assert ok.delay().get(timeout=WAIT) == "ok"
