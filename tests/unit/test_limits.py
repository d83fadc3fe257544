"""Strangers' messages are measured while they are unpacked."""

from __future__ import annotations

import json
import lzma
import random
import time
import tracemalloc
import zlib
from types import SimpleNamespace

import pytest
from kombu import compression
from kombu.message import Message
from kombu.serialization import dumps

from celerant.common.limits import NO_LIMITS, Limits, TooMuchError
from celerant.common.unopened import body_of, leave_unopened
from celerant.errors import SettingError, TaskError
from celerant.results.async_result import AsyncResult
from celerant.results.tracking.record import Codec
from celerant.worker.message import Reader
from celerant.worker.refused import Refused

KINDS = compression.encoders()
MB = 1 << 20


def peak(call):
    tracemalloc.start()
    try:
        call()
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("kind", KINDS)
def test_packed_bodies_are_unpacked_as_kombu_does(kind):
    for body in (b"", b"x", b"abc" * 500_000):
        packed, _ = compression.compress(body, kind)
        for limits in (NO_LIMITS, Limits(size=2 * MB)):
            assert limits.unpack(packed, kind) == body


@pytest.mark.parametrize("kind", ["bzip2", "lzma"])
def test_streams_may_follow_each_other_and_rubbish_the_last(kind):
    one, _ = compression.compress(b"one", kind)
    for packed in (one + one, one + b"rubbish"):
        whole = compression.decompress(packed, kind)
        assert Limits(size=MB).unpack(packed, kind) == whole


@pytest.mark.parametrize("kind", ["bzip2", "lzma"])
def test_a_body_of_very_many_streams_is_refused_early(kind):
    one, _ = compression.compress(b"", kind)
    assert Limits(size=64 * MB).unpack(one * 10_000, kind) == b""
    many = one * (16 * MB // len(one))
    began = time.process_time()
    with pytest.raises(TooMuchError, match="more than 10,000 streams"):
        Limits(size=64 * MB).unpack(many, kind)
    # One second of it went into copies of the rest, once per stream.
    assert time.process_time() - began < 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_incompressible_body_is_unpacked_slice_by_slice(kind):
    body = random.Random(5).randbytes(3 * MB + 1)
    packed, _ = compression.compress(body, kind)
    assert Limits(size=4 * MB).unpack(packed, kind) == body


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused_before_it_is_unpacked(kind):
    bomb, _ = compression.compress(bytes(40 * MB), kind)

    def unpack():
        with pytest.raises(TooMuchError, match="unpacks to more than"):
            Limits(size=MB).unpack(bomb, kind)

    assert peak(unpack) < 25 * MB


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_packed_body_is_an_error(kind):
    packed, _ = compression.compress(bytes(range(256)) * 1000, kind)
    for limits in (NO_LIMITS, Limits(size=MB)):
        with pytest.raises(
            (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error)
        ) as caught:
            limits.unpack(packed[:-10], kind)
        assert not isinstance(caught.value, TooMuchError)


def test_a_compression_of_somebody_s_own_is_measured_afterwards():
    try:
        compression.register(bytes, lambda raw: raw * 1000, "test/own", ["own"])
        assert Limits(size=5000).unpack(b"abc", "own") == b"abc" * 1000
        with pytest.raises(TooMuchError):
            Limits(size=1000).unpack(b"abc", "own")
    finally:
        for table in (compression._encoders, compression._decoders):
            table.pop("test/own", None)
        compression._aliases.pop("own", None)


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value] if depth % 2 else {"a": value}
    return value


@pytest.mark.parametrize("limit", [3, 100, 301])
def test_depth_is_counted_to_the_level(limit):
    limits = Limits(depth=limit)
    for value in (nested(limit), 5, [[1], {"a": [2]}] * 10_000):
        limits.check_depth(value)
        limits.check_depth(value, json.dumps(value))
    for text in (
        None,
        json.dumps(nested(limit + 1)),
        json.dumps(nested(limit + 1)).encode(),
    ):
        with pytest.raises(TooMuchError, match="nested deeper than"):
            limits.check_depth(nested(limit + 1), text)


def test_brackets_in_strings_are_no_depth():
    value = {"a": ["[" * 10_000, "}" * 10_000]}
    Limits(depth=2).check_depth(value, json.dumps(value))


def test_a_value_that_holds_itself_is_too_deep_and_one_said_often_is_not():
    own = []
    own.append(own)
    with pytest.raises(TooMuchError):
        Limits(depth=50).check_depth(own)
    often = [1]
    for _ in range(40):
        often = [often] * 9  # 9**40 lists, were each walked
    Limits(depth=50).check_depth(often)


# -- messages ------------------------------------------------------------------


class Channel:
    """As much of a channel of kombu as messages need."""

    Message = Message
    no_ack_consumers = None


@pytest.fixture
def made():
    limits, channel = Limits(size=MB, depth=50), Channel()
    leave_unopened(channel, limits)
    tasks = {"known": SimpleNamespace(ignore_result=False)}
    reader = Reader(tasks, {"application/json"}, limits=limits)

    def make(body, headers=None, **options):
        message = channel.Message(
            body,
            channel=channel,
            delivery_tag="tag",
            content_type=options.pop("content_type", "application/json"),
            content_encoding="utf-8",
            headers={"task": "known", "id": "id-1", **(headers or {})},
            **options,
        )
        return reader, message

    return make


def bomb():
    return compression.compress(b"[" + b" " * (40 * MB) + b"]", "gzip")[0]


def test_a_message_is_not_unpacked_before_its_headers_are_looked_at(made):
    packed = bomb()

    def refuse():
        reader, message = made(
            packed, {"compression": "application/x-gzip", "id": None}
        )
        with pytest.raises(Refused, match="its header 'id' is no text"):
            reader.read(message)
        assert message.body == packed

    assert peak(refuse) < 10 * MB


def test_a_message_that_is_a_bomb_is_refused_as_a_broken_one(made):
    packed = bomb()

    def refuse():
        reader, message = made(packed, {"compression": "application/x-gzip"})
        with pytest.raises(Refused, match="celerant_message_size_limit") as caught:
            reader.read(message)
        assert caught.value.request.id == "id-1"

    assert peak(refuse) < 20 * MB


def test_a_body_of_a_refused_content_type_is_not_unpacked(made):
    reader, message = made(
        bomb(), {"compression": "application/x-gzip"}, content_type="application/x-yaml"
    )

    def refuse():
        with pytest.raises(Refused, match="application/x-yaml"):
            reader.read(message)

    assert peak(refuse) < 10 * MB


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 60 + b"]" * 60, "no \\[args, kwargs, embed\\]|nested deeper"),
        (json.dumps([[nested(60)], {}, None]).encode(), "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "Recursion|nested deeper"),
        (b'["' + b"x" * MB + b'"]', "has 1,048,580 bytes"),
    ],
)
def test_a_body_that_is_too_large_or_too_deep_is_refused(made, body, told):
    reader, message = made(body)
    with pytest.raises(Refused, match=told):
        reader.read(message)


def test_a_packed_message_is_read_and_given_back_as_it_came(made):
    body = json.dumps([[1], {}, None]).encode()
    packed, kind = compression.compress(body, "bzip2")
    _, message = made(packed, {"compression": kind})
    assert message.decode() == [[1], {}, None]
    assert body_of(message, NO_LIMITS, None) == body
    assert message.body == packed


@pytest.mark.parametrize("tag", [None, True, {}, [], 1.5, ""])
def test_an_envelope_without_a_delivery_tag_is_none(tag):
    channel = Channel()
    leave_unopened(channel, NO_LIMITS)
    with pytest.raises(TypeError, match="delivery_tag cannot be"):
        channel.Message(b"", channel=channel, delivery_tag=tag)


# -- records -------------------------------------------------------------------


def test_a_record_that_is_a_bomb_is_a_failure_though_no_compression_is_set(
    fake_backend,
):
    record = b"\x00celery-compressed\x00application/x-gzip\x00" + bomb()
    fake_backend.records["id"] = record

    def look():
        found = AsyncResult("id", fake_backend).get(timeout=5, propagate=False)
        assert isinstance(found, TaskError)
        assert "celerant_message_size_limit" in str(found)

    assert peak(look) < 30 * MB


def test_a_record_may_be_neither_too_large_nor_too_deep():
    codec = Codec(limits=Limits(size=1000, depth=50))
    assert codec.decode(codec.pack({"a": 1})) == {"a": 1}
    for value in ("x" * 1000, nested(51)):
        with pytest.raises(TooMuchError):
            codec.decode(dumps(value, serializer="json")[2])


@pytest.fixture
def fake_backend():
    from celerant.results.backends import open_backend

    backend = open_backend("memory://", name="limits", limits=Limits(MB, 50))

    class Records:
        def __setitem__(self, name, payload):
            backend.store(name, payload, expires=0)

    backend.records = Records()
    yield backend
    backend.close()


@pytest.mark.parametrize(
    "name",
    [
        "celerant_message_size_limit",
        "celerant_message_depth_limit",
        "celerant_result_memory_limit",
    ],
)
def test_limits_are_settings(app, name):
    assert app.conf[name] > 0
    app.conf[name] = 10
    app.conf[name] = None
    for wrong in (0, -1, True, 1.5, "many"):
        with pytest.raises(SettingError, match=name):
            app.conf[name] = wrong
