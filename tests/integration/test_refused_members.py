"""Refused members: `PublishError.path` and the report name them."""

from __future__ import annotations

import json
import socket

import pytest
from kombu import Connection, Exchange, Queue

from celerant import Celerant, PublishError, group
from celerant.dispatch.wires import exchange_types
from harness import services
from harness.capture import drain
from harness.rabbitmq_server import own_rabbitmq
from harness.tasks import define_tasks


@pytest.fixture
def shop(rabbitmq_url, queue):
    with Celerant(f"celerant-{queue}", broker=rabbitmq_url) as app:
        app.conf.task_default_queue = queue
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)
        tasks.app, tasks.queue, tasks.url = app, queue, rabbitmq_url
        yield tasks


def _numbers(url, queue):
    messages = drain(url, queue)
    return sorted(json.loads(message.body)[0][0] for message in messages)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"user_id": "other"}, id="user_id"),
        pytest.param({"exchange": "none-such", "routing_key": "k"}, id="exchange"),
        pytest.param(
            {"exchange": "amq.direct", "routing_key": "nobody"}, id="unroutable"
        ),
    ],
)
def test_member_that_rabbitmq_refuses_is_named_and_can_be_resumed(shop, options):
    bad = shop.add.s(2, 0).set(**options)
    inner = group([shop.add.s(1, 0), bad, shop.add.s(3, 0)])
    members = group([shop.add.s(0, 0), inner, shop.add.s(4, 0)])
    with pytest.raises(PublishError, match=r"^group\[1\]\[1\]: ") as caught:
        members.apply_async()
    error = caught.value
    assert error.path == "group[1][1]"
    assert not error.recoverable
    assert error.report.rejected == [(2, 3)]
    assert error.report.unknown == []
    for name in options:
        bad.options.pop(name)
    result = members.resume(error.result)
    assert result.report.complete
    assert _numbers(shop.url, shop.queue) == [0, 1, 2, 3, 4]


def test_task_that_rabbitmq_refuses_raises(shop):
    with pytest.raises(PublishError) as caught:
        shop.add.apply_async((1, 1), user_id="other")
    assert caught.value.path == "task"
    assert caught.value.report.rejected == [(0, 1)]
    assert caught.value.result.id


def test_members_of_the_broker_s_own_user_leave_in_volleys(shop):
    members = [shop.add.s(i, 0).set(user_id="guest") for i in range(1_200)]
    assert group(members).apply_async().report.complete
    assert _numbers(shop.url, shop.queue) == list(range(1_200))


def test_a_queue_key_of_another_type_is_an_error(redis_url, queue):
    url = redis_url["broker"]
    other = f"{queue}-other"
    with (
        Celerant(f"celerant-{queue}", broker=url) as app,
        services.redis_client(3) as client,
    ):
        app.conf.task_default_queue = queue
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)
        # Both queues are declared now.
        tasks.add.apply_async((9, 0))
        tasks.add.apply_async((9, 0), queue=other)
        client.delete(queue)
        client.set(other, "text")
        members = group(
            [tasks.add.s(i, 0).set(queue=other if i == 3 else queue) for i in range(6)]
        )
        with pytest.raises(PublishError, match="WRONGTYPE") as caught:
            members.apply_async()
        assert caught.value.path == "group[3]"
        assert caught.value.report.rejected == [(3, 4)]
        assert caught.value.report.confirmed == [(0, 3), (4, 6)]
        client.delete(other)
        members.resume(caught.value.result)
        assert client.llen(other) == 1
        assert client.llen(queue) == 5


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with own_rabbitmq(
        tmp_path_factory.mktemp("rabbitmq"),
        plugins=["rabbitmq_random_exchange"],
        config=["max_message_size = 20000"],
    ) as server:
        yield server


@pytest.mark.timeout(90)
def test_message_that_is_too_large_is_refused(node, queue):
    with Celerant(f"celerant-{queue}", broker=node.url()) as app:
        app.conf.task_default_queue = queue
        app.conf.task_ignore_result = True
        tasks = define_tasks(app)
        sizes = [10, 10, 30_000, 10]
        with pytest.raises(PublishError, match="message size") as caught:
            group([tasks.echo.s("x" * size) for size in sizes]).apply_async()
        assert caught.value.path == "group[2]"
        assert caught.value.report.rejected == [(2, 3)]
        assert caught.value.report.unsent == [(3, 4)]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("is_declared", [True, False])
def test_an_exchange_that_may_keep_messages_returns_none(node, queue, is_declared):
    # RabbitMQ brings no delayed-message exchange along; what counts is that the type
    # is a plugin's.
    exchange = Exchange(f"{queue}-x", "x-random", durable=False)
    with Connection(node.url()) as connection:
        exchange(connection.default_channel).declare()
        with Celerant(f"celerant-{queue}", broker=node.url()) as app:
            app.conf.task_ignore_result = True
            tasks = define_tasks(app)
            to = {"exchange": exchange if is_declared else exchange.name}
            report = (
                group([tasks.add.s(i, 0) for i in range(3)])
                .apply_async(routing_key="k", **to)
                .report
            )
            # No queue is bound: of another type they would come back as unroutable.
            assert report.complete
            with pytest.raises(PublishError, match="unroutable"):
                group([tasks.add.s(1, 0)]).apply_async(
                    exchange="amq.topic", routing_key="k"
                )


def test_a_connection_lost_while_a_type_is_asked_for_is_mended(shop, monkeypatch):
    asked, losses = exchange_types._asked, [ConnectionResetError("gone")]

    def losing(exchange, connection):
        if losses:
            connection.transport.sock.shutdown(socket.SHUT_RDWR)
            raise losses.pop()
        return asked(exchange, connection)

    monkeypatch.setattr(exchange_types, "_asked", losing)
    exchange = Exchange(f"{shop.queue}-x", durable=False)
    with Connection(shop.url) as connection:
        bound = Queue(shop.queue, exchange, routing_key="k")
        bound(connection.default_channel).declare()
        members = group([shop.add.s(i, 0) for i in range(3)])
        sent = members.apply_async(exchange=exchange.name, routing_key="k")
        assert sent.report.complete
        assert _numbers(shop.url, shop.queue) == [0, 1, 2]
        exchange(connection.default_channel).delete()
