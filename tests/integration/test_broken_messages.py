"""What anybody may put into a queue: it is refused, and the worker goes on."""

from __future__ import annotations

import json
import uuid

import pytest
import redis

pytestmark = pytest.mark.timeout(60)


def _envelope(**changed):
    """Return what kombu keeps in a list, with other fields."""
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
        assert worker._source._generation == 1
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
        assert worker._source._generation == 1
    assert "its body (application/json) cannot be read" in str(outcome)
    (told,) = _refusals(caplog)
    assert task_id in told
