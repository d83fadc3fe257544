from __future__ import annotations

import base64
import json
import re

import pytest

from celerant import Celerant, group
from celerant.errors import PublishError
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

# More than three chunks of 500.
SIZE = 1_700
QUEUE = "celerant-test-lost"

#: Has the rights of a producer, and none of an administrator.
PRODUCER_ACL = "+@all -@admin -@dangerous"
USERS = [
    f"user shop on >secret ~* &* {PRODUCER_ACL}",
    # No right to the keys of the marks.
    f"user nomark on >secret ~{QUEUE}* ~_kombu.binding* &* {PRODUCER_ACL}",
]


def _chunk(number):
    """Return a predicate: the transaction of this number (from 1) is complete."""

    def matches(stream):
        return len(re.findall(rb"LPUSH.*?EXEC\r\n", stream, re.DOTALL)) >= number

    return matches


def _numbers(client, key=QUEUE):
    """Return the first argument of every message in the queue, oldest first."""
    bodies = [json.loads(raw)["body"] for raw in client.lrange(key, 0, -1)]
    numbers = [json.loads(base64.b64decode(body))[0][0] for body in bodies]
    return numbers[::-1]


def _tags(client, key=QUEUE):
    return [
        json.loads(raw)["properties"]["delivery_tag"]
        for raw in client.lrange(key, 0, -1)
    ]


def _app(url, **transport_options):
    app = Celerant("celerant-test-lost", broker=url)
    app.conf.task_default_queue = QUEUE
    app.conf.task_ignore_result = True
    app.conf.broker_transport_options = transport_options
    return app


def _members(app):
    tasks = define_tasks(app)
    return group([tasks.add.s(i, 0) for i in range(SIZE)])


@pytest.fixture
def server(redis_server):
    return redis_server(acl=USERS)


@pytest.mark.parametrize("chunk", [1, 2, 4])
@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
@pytest.mark.parametrize(
    ("user", "transport_options", "key"),
    [
        pytest.param("", {}, QUEUE, id="plain"),
        pytest.param(
            "", {"global_keyprefix": "shop:"}, f"shop:{QUEUE}", id="global_keyprefix"
        ),
        pytest.param("", {"retry_on_timeout": True}, QUEUE, id="retry_on_timeout"),
        pytest.param("shop", {}, QUEUE, id="no-admin-rights"),
    ],
)
def test_every_message_is_in_the_queue_exactly_once(
    server, chunk, lost, user, transport_options, key
):
    with TcpProxy(server.port, **{lost: _chunk(chunk)}) as proxy:
        url = server.url(user, "secret" if user else "", port=proxy.port)
        with _app(url, **transport_options) as app:
            result = _members(app).apply_async()

            assert proxy.cuts == 1
            assert result.report.complete
            assert result.report.confirmed == [(0, SIZE)]
    with server.client() as client:
        assert _numbers(client, key) == list(range(SIZE))
        assert len(set(_tags(client, key))) == SIZE


def _lifetimes(client):
    """Return the seconds that each mark still lives; -1 is for ever."""
    return [client.ttl(mark) for mark in client.scan_iter("*_kombu.celerant.*")]


def test_the_mark_expires_by_itself_and_goes_with_the_app(server):
    seen = []

    def look(stream):
        if _chunk(2)(stream):
            with server.client() as client:
                seen.extend(_lifetimes(client))
        return False

    with (
        TcpProxy(server.port, lose_request=look) as proxy,
        _app(server.url(port=proxy.port)) as app,
    ):
        _members(app).apply_async()
    assert seen
    assert min(seen) > 0
    with server.client() as client:
        assert client.llen(QUEUE) == SIZE
        assert _lifetimes(client) == []


def test_lost_members_are_reported_without_the_right_to_the_mark(server):
    with TcpProxy(server.port, lose_reply=_chunk(2)) as proxy:
        url = server.url("nomark", "secret", port=proxy.port)
        with _app(url) as app:
            members = _members(app)
            try:
                counts = members.apply_async().report.counts()
            except PublishError as error:
                counts = error.report.counts()
    with server.client() as client:
        arrived = _numbers(client)
    assert proxy.cuts == 1
    # Nothing is sent twice behind the caller's back ...
    assert len(arrived) == len(set(arrived))
    # ... and members that may be in are reported as such.
    assert counts["unknown"] > 0
    assert counts["confirmed"] <= len(arrived)
    assert len(arrived) <= counts["confirmed"] + counts["unknown"]
