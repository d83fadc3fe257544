"""Redis dies while a chunk is unanswered, for longer than the retry policy lasts.

The chunk's mark is in its append-only file, beside the chunk: `resume` asks for it.
"""

from __future__ import annotations

import base64
import json
import re
from types import SimpleNamespace

import pytest

from celerant import Celerant, PublishError, chord, group
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

SIZE = 1_700
QUEUE = "celerant-test-restart"
EVER = 1_000_000
FSYNC = {"appendonly": "yes", "appendfsync": "always"}
#: No right to the keys of the marks.
USERS = [f"user nomark on >secret ~{QUEUE}* ~_kombu.binding* &* +@all -@admin"]


@pytest.fixture(params=["reply", "request"])
def lost(request):
    return request.param


@pytest.fixture
def shop(redis_server, lost):
    """An app whose broker goes with the second chunk or with the answer to it."""
    server = redis_server(options=FSYNC, acl=USERS)
    state = SimpleNamespace(is_gone=False)

    def is_second(stream):
        if len(re.findall(rb"LPUSH.*?EXEC\r\n", stream, re.DOTALL)) < 2:
            return False
        state.is_gone = True
        return True

    cuts = {
        "lose_reply": is_second if lost == "reply" else None,
        "lose_request": lambda stream: (
            state.is_gone or (lost == "request" and is_second(stream))
        ),
    }
    with TcpProxy(server.port, times=EVER, **cuts) as proxy:

        def make(user="", backend=None):
            url = server.url(user, "secret" if user else "", port=proxy.port)
            app = Celerant("celerant-test-restart", broker=url, backend=backend)
            app.conf.task_default_queue = QUEUE
            app.conf.task_publish_retry_policy = {"max_retries": 1, "interval_max": 0}
            return app

        def restart():
            server.kill()
            server.__enter__()
            proxy.forward()

        yield SimpleNamespace(server=server, make=make, restart=restart)


def _numbers(server):
    with server.client() as client:
        bodies = [json.loads(raw)["body"] for raw in client.lrange(QUEUE, 0, -1)]
    return sorted(json.loads(base64.b64decode(body))[0][0] for body in bodies)


def _interrupted(canvas):
    with pytest.raises(PublishError) as caught:
        canvas.apply_async()
    return caught.value


def test_a_group_is_resumed_and_every_member_is_in_the_queue_once(shop):
    with shop.make(backend="disabled://") as app:
        tasks = define_tasks(app)
        members = group([tasks.add.s(i, 0) for i in range(SIZE)])
        error = _interrupted(members)
        assert error.report.unknown == [(500, 1_000)]
        # No server answers: nothing changes, and it can be tried again.
        with pytest.raises(PublishError) as caught:
            members.resume(error.result)
        assert caught.value.result is error.result
        assert error.result.report.unknown == [(500, 1_000)]

        shop.restart()

        result = members.resume(error.result)
        assert result.report.complete
        assert result.report.maybe_double == []
        assert _numbers(shop.server) == list(range(SIZE))
        assert members.resume(result) is result
        assert _numbers(shop.server) == list(range(SIZE))


def test_a_chord_is_resumed_and_every_task_is_in_the_queue_once(shop):
    with shop.make(backend=shop.server.url()) as app:
        tasks = define_tasks(app)
        canvas = chord([tasks.add.s(i, 0) for i in range(SIZE)], tasks.echo.s())
        error = _interrupted(canvas)
        assert error.report.unknown == [(500, 1_000)]
        shop.restart()
        result = canvas.resume(error.result)
        assert not result.ready()
        assert result.parent.report.complete
        assert _numbers(shop.server) == list(range(SIZE))


def test_the_last_chunk_of_a_chord_was_in(shop):
    with shop.make(backend=shop.server.url()) as app:
        tasks = define_tasks(app)
        canvas = chord([tasks.add.s(i, 0) for i in range(1_000)], tasks.echo.s())
        error = _interrupted(canvas)
        assert error.result.failed()
        shop.restart()
        result = canvas.resume(error.result)
        assert not result.ready()
        assert _numbers(shop.server) == list(range(1_000))


def test_members_that_are_chords_are_sent_once(shop):
    with shop.make(backend=shop.server.url()) as app:
        tasks = define_tasks(app)
        members = group(
            [
                chord(
                    [tasks.add.s(2 * i, 0), tasks.add.s(2 * i + 1, 0)], tasks.echo.s()
                )
                for i in range(500)
            ]
        )
        error = _interrupted(members)
        shop.restart()
        result = members.resume(error.result)
        assert result.report.complete
        assert _numbers(shop.server) == list(range(1_000))


def test_a_mark_that_is_gone_leaves_members_unknown(shop, lost):
    with shop.make(backend="disabled://") as app:
        tasks = define_tasks(app)
        members = group([tasks.add.s(i, 0) for i in range(SIZE)])
        error = _interrupted(members)
        shop.restart()
        with shop.server.client() as client:
            client.delete(*client.scan_iter("_kombu.celerant.*"))

        result = members.resume(error.result, unknown="skip")

        assert result.report.unknown == [(500, 1_000)]
        found = _numbers(shop.server)
        unsure = range(500, 1_000) if lost == "reply" else []
        assert found == sorted([*range(500), *unsure, *range(1_000, SIZE)])


def test_a_mark_that_could_not_be_set_leaves_members_unknown(shop):
    with shop.make("nomark", backend="disabled://") as app:
        tasks = define_tasks(app)
        members = group([tasks.add.s(i, 0) for i in range(SIZE)])
        error = _interrupted(members)
        assert error.report.unknown == [(500, 1_000)]
        shop.restart()
        result = members.resume(error.result)
        assert result.report.complete
        assert result.report.maybe_double == [(500, 1_000)]
