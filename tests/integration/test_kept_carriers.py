"""The mark and the channel that a carrier keeps between dispatches, and their loss."""

from __future__ import annotations

import base64
import json
import uuid
from itertools import pairwise

import pytest

from celerant import Celerant, group
from celerant.errors import EncodeError
from harness.capture import drain
from harness.services import RABBITMQ_PORT
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

#: Class 20, method 10 and class 85, method 10: a channel opens, and asks for confirms.
CHANNEL_OPEN = b"\x00\x14\x00\x0a"
CONFIRM_SELECT = b"\x00\x55\x00\x0a"


@pytest.fixture
def server(redis_server):
    return redis_server()


@pytest.fixture
def make_app():
    """Make apps that try once."""
    made = []

    def make(broker):
        name = f"celerant-test-{uuid.uuid4().hex[:8]}"
        app = Celerant(name, broker=broker, task_default_queue=name)
        app.conf.update(task_ignore_result=True, task_publish_retry=False)
        made.append(app)
        return define_tasks(app), name

    yield make
    for app in made:
        app.close()


class Listening:
    """A predicate of a proxy that fires never and keeps what it is shown."""

    def __init__(self):
        self.sent = b""

    def __call__(self, stream):
        if b"MULTI" in stream or stream.startswith(b"AMQP"):
            self.sent = stream
        return False


def _numbers(client, queue):
    """Return the first argument of every message, oldest first."""
    bodies = [json.loads(raw)["body"] for raw in client.lrange(queue, 0, -1)]
    return [json.loads(base64.b64decode(body))[0][0] for body in bodies][::-1]


def _marks(client):
    return list(client.scan_iter("*_kombu.celerant.*"))


def test_a_dispatch_costs_redis_one_transaction(server, make_app):
    heard = Listening()
    with TcpProxy(server.port, lose_request=heard) as proxy:
        tasks, queue = make_app(server.url(port=proxy.port))
        lengths = []
        for i in range(4):
            tasks.add.delay(i, 0)
            lengths.append(len(heard.sent))
        with server.client() as client:
            assert _numbers(client, queue) == [0, 1, 2, 3]
            assert len(_marks(client)) == 1
    last = heard.sent[lengths[2] :]
    commands = [b"MULTI", b"LPUSH", b"SET", b"EXEC", b"WATCH"]
    known = {*commands, b"GET", b"EXPIRE"}
    found = [line for line in last.split(b"\r\n") if line in known]
    assert found == commands
    assert {b - a for a, b in pairwise(lengths)} == {len(last)}


def test_connections_that_send_at_a_time_have_marks_of_their_own(server, make_app):
    tasks, queue = make_app(server.url())

    def members():
        for i in range(3):
            tasks.add.delay(i, 0)
            yield tasks.add.s(i, 0)

    group(members()).apply_async()
    group(members()).apply_async()
    with server.client() as client:
        assert client.llen(queue) == 12
        # The nested one's is deleted with its connection, or kept with it.
        assert 1 <= len(_marks(client)) <= 2
        assert all(client.ttl(mark) > 0 for mark in _marks(client))
        tasks.add.app.close()
        assert _marks(client) == []


@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
def test_a_kept_connection_lost_under_a_task_enqueues_it_once(server, make_app, lost):
    def third(stream):
        return stream.count(b"EXEC\r\n") >= 3

    with TcpProxy(server.port, **{lost: third}) as proxy:
        tasks, queue = make_app(server.url(port=proxy.port))
        # No second try is allowed: that it died unused is none.
        for i in range(5):
            tasks.add.delay(i, 0)
        assert proxy.cuts == 1
    with server.client() as client:
        assert _numbers(client, queue) == [0, 1, 2, 3, 4]


def test_a_redis_connection_that_ends_while_unused_is_replaced(
    server, make_app, caplog
):
    with TcpProxy(server.port) as proxy:
        tasks, queue = make_app(server.url(port=proxy.port))
        for i in range(3):
            tasks.add.delay(i, 0)
            proxy.cut()
    with server.client() as client:
        assert _numbers(client, queue) == [0, 1, 2]
    assert caplog.records == []


def test_a_mark_deleted_between_dispatches_costs_no_message(server, make_app):
    tasks, queue = make_app(server.url())
    with server.client() as client:
        for i in range(3):
            tasks.add.delay(i, 0)
            client.delete(*_marks(client))
        assert _numbers(client, queue) == [0, 1, 2]


def test_an_old_mark_is_given_its_life_again(server, make_app, monkeypatch):
    heard = Listening()
    with TcpProxy(server.port, lose_request=heard) as proxy:
        tasks, queue = make_app(server.url(port=proxy.port))
        tasks.add.delay(0, 0)
        seen = len(heard.sent)
        monkeypatch.setattr("celerant.dispatch.wires.redis_watch._MARK_FRESH", 0)
        tasks.add.delay(1, 0)
    assert b"EXPIRE" in heard.sent[seen:]
    with server.client() as client:
        assert _numbers(client, queue) == [0, 1]


def test_dispatches_share_a_confirming_channel(rabbitmq_url, make_app):
    heard = Listening()
    with TcpProxy(RABBITMQ_PORT, lose_request=heard) as proxy:
        tasks, queue = make_app(
            rabbitmq_url.replace(str(RABBITMQ_PORT), str(proxy.port))
        )
        results = [group([tasks.add.s(i, 0)] * 3).apply_async() for i in range(4)]
        with pytest.raises(EncodeError):
            tasks.echo.delay(object())
        for i in range(4):
            tasks.add.delay(i, 0)
        opened = heard.sent.count(CHANNEL_OPEN)
        assert heard.sent.count(CONFIRM_SELECT) == 1
        # None for kombu beside it: a broker may allow only one.
        assert opened == 1
    assert all(result.report.complete for result in results)
    assert len(drain(rabbitmq_url, queue)) == 16


def test_a_rabbitmq_connection_that_ends_while_unused_is_replaced(
    rabbitmq_url, make_app, caplog
):
    with TcpProxy(RABBITMQ_PORT) as proxy:
        tasks, queue = make_app(
            rabbitmq_url.replace(str(RABBITMQ_PORT), str(proxy.port))
        )
        for i in range(3):
            tasks.add.delay(i, 0)
            proxy.cut()
    assert len(drain(rabbitmq_url, queue)) == 3
    assert caplog.records == []
