"""Deliveries and replies as bytes: read as py-amqp does, written as kombu does."""

from __future__ import annotations

import datetime as dt
import random
import struct
from decimal import Decimal
from types import SimpleNamespace

import pytest
from amqp import basic_message
from amqp.method_framing import frame_handler, frame_writer
from amqp.serialization import dumps, loads
from kombu import Connection, Producer
from kombu.transport.pyamqp import Message

from celerant._core import read_deliveries
from celerant.common.amqp_message import AmqpMessage
from celerant.results.backends.rpc_frames import BUNDLE, Reply, published
from harness import services

CHANNEL = 3
PLAIN = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "application_headers": {
        "task": "add",
        "id": "7d0e",
        "none": None,
        "yes": True,
        "small": -1,
        "byte": 200,
        "large": -(2**40),
        "half": 0.5,
        "timelimit": [None, None],
        "stamps": {"of": ["a", {"b": 2}], "ä": "ö"},
        "empty": {},
    },
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "7d0e",
    "reply_to": "here",
    "expiration": "1000",
    "message_id": "m",
    "type": "t",
    "user_id": "guest",
    "app_id": "a",
    "cluster_id": "c",
}


def frame(kind, payload, channel=CHANNEL):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def delivered(properties, body, tag=1, channel=CHANNEL, piece=10, *, again=True):
    """Return the bytes of a delivery, as a broker writes them."""
    method = struct.pack(">HH", 60, 60)
    method += dumps("sLbss", ("consumer", tag, again, "exchange", "queue"))
    message = basic_message.Message(body, **properties)
    head = struct.pack(">HHQ", 60, 0, len(body)) + message._serialize_properties()
    bodies = [body[at : at + piece] for at in range(0, len(body), piece)]
    return b"".join(
        [
            frame(1, method, channel),
            frame(2, head, channel),
            *(frame(3, part, channel) for part in bodies),
        ]
    )


def by_py_amqp(buffer):
    """Return properties, body and place of each delivery, as py-amqp reads them."""
    found = []

    def dispatch(_channel, _method, arguments, content):
        tag, number, again, exchange, key = loads("sLbss", arguments, 4)[0]
        # Text, where there is none.
        body = content.body or b""
        found.append(
            (tag, number, again, exchange, key, content.properties, bytes(body))
        )

    connection = SimpleNamespace(bytes_recv=0)
    read = frame_handler(connection, dispatch)
    at = 0
    while at < len(buffer):
        kind, channel, size = struct.unpack_from(">BHI", buffer, at)
        read((kind, channel, buffer[at + 7 : at + 7 + size]))
        at += size + 8
    return found, connection.bytes_recv


@pytest.mark.parametrize("body", [b"", b"[]", b"[[1, 2], {}, {}]" * 9])
def test_delivery_has_the_values_that_py_amqp_reads(body):
    buffer = delivered(PLAIN, body) + delivered({}, b"x", tag=2)
    items, used, frames = read_deliveries(buffer, CHANNEL)
    expected, count = by_py_amqp(buffer)
    assert [item[-1] for item in items] == [None, None]
    items = [item[:-1] for item in items]
    assert items == expected
    assert [list(map(type, item)) for item in items] == [
        list(map(type, item)) for item in expected
    ]
    assert (used, frames) == (len(buffer), count)


@pytest.mark.parametrize("name", PLAIN)
def test_delivery_with_one_property_has_it(name):
    buffer = delivered({name: PLAIN[name]}, b"[]")
    ((*parts, fields),) = read_deliveries(buffer, CHANNEL)[0]
    assert [tuple(parts)] == by_py_amqp(buffer)[0]
    assert fields is None


@pytest.mark.parametrize(
    "properties",
    [
        {"application_headers": {"when": dt.datetime(2026, 1, 1)}},  # noqa: DTZ001 - AMQP has no zone
        {"application_headers": {"price": Decimal("1.5")}},
        {"application_headers": {"in": {"deep": [Decimal(2)]}}},
        {"timestamp": 1},
    ],
)
def test_delivery_with_a_value_of_py_amqps_own_is_left_to_it(properties):
    buffer = delivered(properties, b"[]")
    items, used, frames = read_deliveries(buffer, CHANNEL)
    assert [item[0] for item in items] == [1, 2, 3]
    assert all(item[1] == CHANNEL for item in items)
    assert (used, frames) == (len(buffer), 0)


def test_bytes_in_pieces_give_the_same_items():
    rng = random.Random(4)
    buffer = b"".join(
        rng.choice(
            [
                delivered(PLAIN, b"[1]" * rng.randrange(20), tag),
                delivered({}, b"other", tag, channel=1),
                frame(8, b"", channel=0),
                delivered({"timestamp": 1}, b"[]", tag),
            ]
        )
        for tag in range(50)
    )
    whole = read_deliveries(buffer, CHANNEL)[0]
    rest, found = b"", []
    while buffer:
        size = rng.randrange(1, 200)
        piece, buffer = buffer[:size], buffer[size:]
        items, used, _ = read_deliveries(rest + piece, CHANNEL)
        rest = (rest + piece)[used:]
        found += items
    assert (found, rest) == (whole, b"")


def test_random_bytes_are_never_more_than_frames():
    rng = random.Random(9)
    good = delivered(PLAIN, b"[]")
    for _ in range(2000):
        broken = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        items, used, _ = read_deliveries(bytes(broken), CHANNEL)
        assert used <= len(broken)
        assert all(len(item) in {3, 8} for item in items)


def test_message_has_what_kombus_has():
    ((*parts, properties, body),) = by_py_amqp(delivered(PLAIN, b"[]"))[0]
    raw = basic_message.Message(body, **properties)
    raw.delivery_info = dict(
        zip(
            ("consumer_tag", "delivery_tag", "redelivered", "exchange", "routing_key"),
            parts,
            strict=True,
        )
    )
    theirs = Message(raw)
    ours = AmqpMessage(*parts, properties, body, None)
    for name in AmqpMessage.__slots__:
        if name not in {"is_packed", "fields"}:
            assert getattr(ours, name) == getattr(theirs, name), name
    assert not ours.is_packed
    properties["application_headers"]["compression"] = "application/x-gzip"
    assert AmqpMessage(*parts, properties, body, None).is_packed


@pytest.mark.parametrize("size", [0, 10, 200_000, 262_128])
@pytest.mark.parametrize("mode", [1, 2])
def test_replies_are_the_bytes_that_kombu_publishes(size, mode):
    services.require_rabbitmq()
    replies = [
        Reply(b"x" * size, "celerant-test-nowhere", "one"),
        Reply(b"{}", "celerant-test-nowhere-ö", "two-ä"),
        Reply(b"", "celerant-test-nowhere", "", is_bundle=True),
    ]
    with Connection(services.RABBITMQ) as connection:
        channel = connection.default_channel
        raw, written = channel.connection, []
        kept = raw._frame_writer
        # A view of a buffer that is used again.
        heard = SimpleNamespace(write=lambda part: written.append(bytes(part)))
        raw._frame_writer = frame_writer(raw, heard)
        for record, reply_to, correlation_id, is_bundle in replies:
            kind = {"type": BUNDLE} if is_bundle else {}
            Producer(channel, auto_declare=False).publish(
                record,
                exchange="",
                routing_key=reply_to,
                correlation_id=correlation_id,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=mode,
                **kind,
            )
        theirs = b"".join(written)
        raw._frame_writer = kept
        ours = published(
            replies,
            channel_id=channel.channel_id,
            frame_max=raw.frame_max,
            content=("application/json", "utf-8"),
            delivery_mode=mode,
        )
    assert ours == theirs
