"""Broken messages in a queue are refused, and the worker goes on."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
import zlib

import pytest
import redis

from harness.inside import connections_made

pytestmark = pytest.mark.timeout(60)


def _envelope(**changed):
    """Return kombu's item of a list, with other fields."""
    made = {
        "body": "e30=",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "q"},
            "delivery_tag": str(uuid.uuid4()),
        },
        **changed,
    }
    return json.dumps(made).encode()


GARBAGE = {
    "text": b"garbage",
    "no text": b"\xff\xfe",
    "empty": b"",
    "number": b"7",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "object": b"{}",
    "marked": b'{"__type__": "unheard", "__value__": 1}',
    "no tag": _envelope(properties={}),
    "no base64": _envelope(body="abc"),
    "headers": _envelope(headers=["no", "object"]),
}


def _refusals(caplog):
    messages = [record.getMessage() for record in caplog.records]
    assert not [message for message in messages if message.startswith("lost ")]
    return [message for message in messages if " refused: " in message]


@pytest.fixture
def echo(request, make_app):
    """A task on the broker that the test names."""
    app = make_app(request.param)

    @app.task(name="broken.echo")
    def echo(x):
        return x

    return echo


@pytest.mark.parametrize("echo", ["redis"], indirect=True)
@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_garbage_in_a_list_costs_one_line_and_no_connection(echo, prefix, caplog):
    app = echo.app
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    with (
        app.worker(concurrency=1) as worker,
        redis.Redis.from_url(app.conf.broker_url) as client,
    ):
        for number, raw in enumerate(GARBAGE.values(), 1):
            client.lpush(f"{prefix}{app.name}", raw)
            # Redis gives them out in order: when this is back, the other was read.
            assert echo.delay(number).get(timeout=20) == number
            assert len(_refusals(caplog)) == number
        assert connections_made(worker) == 1
    for kind, told in zip(GARBAGE, _refusals(caplog), strict=True):
        assert told.startswith(f"message without an id from queue '{app.name}'"), kind
        assert "its envelope cannot be read" in told
        assert len(told) < 700
    assert "'garbage'" in _refusals(caplog)[0]


@pytest.mark.parametrize("echo", ["redis", "rabbitmq"], indirect=True)
@pytest.mark.parametrize("compression", ["application/x-gzip", "application/x-unheard"])
def test_a_body_that_cannot_be_decompressed_fails_its_task(echo, compression, caplog):
    app, task_id = echo.app, str(uuid.uuid4())
    headers = {"task": echo.name, "id": task_id, "compression": compression}
    with app.worker(concurrency=1) as worker:
        assert echo.delay(1).get(timeout=20) == 1
        with app.connection_for_write() as connection:
            connection.Producer().publish(
                b"not compressed at all",
                routing_key=app.name,
                headers=headers,
                content_type="application/json",
                content_encoding="binary",
            )
        outcome = app.AsyncResult(task_id).get(timeout=20, propagate=False)
        assert echo.delay(2).get(timeout=20) == 2
        assert connections_made(worker) == 1
    assert "its body (application/json) cannot be read" in str(outcome)
    (told,) = _refusals(caplog)
    assert task_id in told


#: JSON that is no envelope, or an envelope that would fail only later.
NO_ENVELOPES = {
    "null": b"null",
    "true": b"true",
    "a text": b'"text"',
    "a list of lists": b"[[1], {}]",
    **{
        f"delivery_tag {json.dumps(tag)}": _envelope(
            properties={
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": "q"},
                "delivery_tag": tag,
            }
        )
        for tag in (None, True, {}, [], 1.5)
    },
    "no delivery_info": _envelope(properties={"delivery_tag": "t"}),
    "exchange": _envelope(
        properties={
            "delivery_tag": "t",
            "delivery_info": {"exchange": {}, "routing_key": []},
        }
    ),
    "delivery_info": _envelope(
        properties={"delivery_tag": "t", "delivery_info": "nowhere"}
    ),
    "properties": _envelope(properties=[1]),
    "body": _envelope(body={"a": 1}),
    "compression": _envelope(headers={"compression": {"a": 1}}),
}


@pytest.fixture
def late(request, make_app):
    """A task with late acks that runs until it is let go, and one that echoes."""
    app = make_app(request.param)
    app.started, app.gate, app.runs = threading.Event(), threading.Event(), []

    @app.task(name="broken.late", acks_late=True)
    def late():
        app.runs.append(1)
        app.started.set()
        return app.gate.wait(30)

    @app.task(name="broken.echo")
    def echo(x):
        return x

    late.echo = echo
    return late


@contextlib.contextmanager
def _running_beside(late):
    """Run the late task meanwhile, and see that it ran once."""
    app = late.app
    with app.worker(concurrency=2) as worker:
        result = late.delay()
        assert app.started.wait(20)
        yield worker
        assert late.echo.delay("after").get(timeout=20) == "after"
        assert connections_made(worker) == 1
        app.gate.set()
        assert result.get(timeout=20) is True
        assert app.runs == [1]


@pytest.mark.parametrize("late", ["redis"], indirect=True)
@pytest.mark.parametrize("kind", NO_ENVELOPES)
def test_a_broken_envelope_gives_back_no_running_task(late, kind, caplog):
    app = late.app
    with (
        _running_beside(late),
        redis.Redis.from_url(app.conf.broker_url) as client,
    ):
        client.lpush(app.name, NO_ENVELOPES[kind])
        assert late.echo.delay(1).get(timeout=20) == 1
    assert len(_refusals(caplog)) == 1


@pytest.mark.parametrize("late", ["redis"], indirect=True)
def test_a_broken_envelope_on_the_channel_of_remote_control_is_refused(late, caplog):
    app = late.app
    with (
        _running_beside(late) as worker,
        redis.Redis.from_url(app.conf.broker_url) as client,
    ):
        channel = f"/{client.get_connection_kwargs()['db']}.{app.name}.pidbox"
        before = len(caplog.records)
        said = [raw for raw in (*NO_ENVELOPES.values(), *GARBAGE.values()) if raw]
        for raw in said:
            assert client.publish(channel, raw) >= 1
        assert app.control.ping(destination=[worker.hostname], timeout=30)
        assert len(caplog.records) - before >= len(said)
        assert late.echo.delay(1).get(timeout=20) == 1


#: Bodies that are JSON and no command.
NO_COMMANDS = [
    b"null",
    b"5",
    b"[]",
    b"[[1]]",
    b'"text"',
    b"{}",
    b"not json",
    b'{"method": {"a": 1}}',
    b'{"method": "ping", "destination": 5}',
    b'{"method": "ping", "arguments": [1, 2]}',
    b'{"method": "ping", "reply_to": {}, "ticket": 1}',
    b'{"method": "ping", "reply_to": 5}',
    b'{"method": "ping", "reply_to": {"exchange": "none", "routing_key": "x"}}',
    b'{"method": "ping", "pattern": "*", "matcher": "no-such"}',
]


@pytest.mark.parametrize("late", ["redis", "rabbitmq"], indirect=True)
def test_a_broken_command_costs_no_connection(late, caplog):
    app = late.app
    with _running_beside(late) as worker:
        for body in NO_COMMANDS:
            with app.connection_for_write() as connection:
                connection.Producer().publish(
                    body,
                    exchange=f"{app.name}.pidbox",
                    headers={"clock": "no number"} if body == b"{}" else {},
                    content_type="application/json",
                    content_encoding="utf-8",
                )
            assert late.echo.delay(1).get(timeout=20) == 1
        assert app.control.ping(destination=[worker.hostname], timeout=30)
    assert not _refusals(caplog)


@pytest.mark.parametrize("late", ["redis", "rabbitmq"], indirect=True)
def test_a_bomb_is_refused_as_a_broken_message(late, caplog):
    app, task_id = late.app, str(uuid.uuid4())
    app.conf.celerant_message_size_limit = 1 << 20
    packed = zlib.compress(b"[" + b" " * (200 << 20) + b"]", 9)
    assert len(packed) < 1 << 20
    with (
        _running_beside(late),
        app.connection_for_write() as connection,
    ):
        connection.Producer().publish(
            packed,
            routing_key=app.name,
            headers={
                "task": "broken.echo",
                "id": task_id,
                "compression": "application/x-gzip",
            },
            content_type="application/json",
            content_encoding="binary",
        )
        outcome = app.AsyncResult(task_id).get(timeout=20, propagate=False)
    assert "celerant_message_size_limit" in str(outcome)
    assert len(_refusals(caplog)) == 1


@pytest.mark.parametrize("late", ["redis", "rabbitmq"], indirect=True)
def test_text_of_a_message_takes_one_line_of_the_log(late, caplog):
    app, forged = late.app, "x\nERROR root: forged\x1b[2J" + "y" * 100_000
    with (
        caplog.at_level("INFO", "celerant"),
        _running_beside(late),
        app.connection_for_write() as connection,
    ):
        for headers in (
            {"task": "broken.echo", "id": forged},
            {"task": forged, "id": str(uuid.uuid4())},
            {"task": "broken.echo", "id": str(uuid.uuid4()), "shadow": forged},
            {"task": "broken.echo", "id": str(uuid.uuid4()), "group": forged},
        ):
            for kind in ("application/json", forged[:200]):
                connection.Producer().publish(
                    b"[[1], {}, null]",
                    routing_key=app.name,
                    headers=headers,
                    content_type=kind,
                    content_encoding="utf-8",
                )
    told = [record.getMessage() for record in caplog.records]
    assert sum("forged" in text for text in told) >= 6
    for text in told:
        assert text.isprintable()
        assert len(text) < 3000
