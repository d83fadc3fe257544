"""A senseless item of a queue is refused, and the next one runs."""

from __future__ import annotations

import base64
import json
import threading
import zlib
from queue import Queue

import pytest
from kombu import Connection

from celerant.context.request import current_request
from celerant.errors import Reject
from celerant.worker import Worker, memory_source
from celerant.worker.memory_message import MemoryMessage

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture
def put(app):
    """Put an item into the app's queue as it is."""

    def put(raw):
        with Connection("memory://") as connection:
            connection.default_channel._queue_for(app.queue).put(raw)

    return put


def _raw(body, **properties):
    told = {"body_encoding": "base64", "delivery_tag": "t", "delivery_info": {}}
    return {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {**told, **properties},
    }


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "text",
        {},
        {"body": "bm8=", "properties": None},
        _raw("a"),
        _raw("bm8=", body_encoding="rot13"),
        {**_raw("bm8="), "headers": ["task"]},
        {**_raw("bm8="), "headers": {"compression": "application/x-gzip"}},
    ],
)
def test_a_broken_item_is_refused_once_and_the_next_one_runs(app, put, caplog, raw):
    app.task("add", lambda x, y: x + y)
    with Worker(app, concurrency=1):
        put(raw)
        assert app.backend.last(app.send("add", 1, 2)) == ("SUCCESS", 3)
    refused = [r for r in caplog.records if "refused" in r.getMessage()]
    assert len(refused) == 1
    assert app.left() == 0


def test_a_compressed_body_is_read(app, put, headers):
    app.task("add", lambda x, y: x + y)
    body = zlib.compress(json.dumps([[1, 2], {}, EMBED]).encode())
    raw = _raw(base64.b64encode(body).decode())
    raw["headers"] = headers("add", "one", compression="application/x-gzip")
    with Worker(app, concurrency=1):
        put(raw)
        assert app.backend.last("one") == ("SUCCESS", 3)


def test_a_message_goes_back_as_it_was():
    raw = _raw(base64.b64encode(b"[]").decode(), priority=3)
    message = MemoryMessage.of_queue(raw, None, 1 << 20)
    assert message.body == b"[]"
    assert message.serializable() is raw


def test_a_message_of_the_core_is_taken_apart_when_somebody_asks(headers):
    raw = _raw(base64.b64encode(json.dumps([[1], {}, EMBED]).encode()).decode())
    raw["headers"] = headers("add", "one")
    for name in ("body", "headers", "properties", "delivery_info", "content_type"):
        message = MemoryMessage.of_queue(raw, None, 1 << 20)
        assert message.fields["args"] == [1]
        plain = MemoryMessage.of_queue(raw, None, 0)
        assert plain.fields is None
        assert getattr(message, name) == getattr(plain, name)
        assert message.serializable() is raw
    with pytest.raises(AttributeError, match="nothing"):
        message.nothing  # noqa: B018 - it raises


def test_a_message_that_goes_back_comes_again_as_redelivered(app):
    seen = []

    def once():
        request = current_request.get()
        seen.append(request.delivery_info["redelivered"])
        if len(seen) == 1:
            raise Reject(requeue=True)

    app.task("once", once, acks_late=True)
    with Worker(app, concurrency=1):
        assert app.backend.last(app.send("once")) == ("SUCCESS", None)
    assert seen == [False, True]


def test_many_threads_take_each_message_once(app):
    seen, lock, done = [], threading.Lock(), threading.Event()

    def note(i):
        with lock:
            seen.append(i)
            if len(seen) == 2000:
                done.set()

    app.task("note", note)
    for i in range(2000):
        app.send("note", i)
    with Worker(app, concurrency=8):
        assert done.wait(20)
    assert sorted(seen) == list(range(2000))


def test_another_consumer_of_a_queue_finds_it_empty_at_worst():
    ours = []

    class Slow(Queue):
        """Between the look and the take of its `get` another consumer takes."""

        def _qsize(self):
            found = super()._qsize()
            if threading.current_thread() is threading.main_thread():
                other.start()
                other.join(0.1)
            return found

    store = Slow()
    store.queue.append(1)
    other = threading.Thread(target=lambda: ours.append(memory_source._pop(store)))
    assert store.get(block=False) == 1
    other.join()
    assert ours == [memory_source._NOTHING]
