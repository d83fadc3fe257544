"""Messages that the core reads are those that kombu's reader would read."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
from types import SimpleNamespace

import pytest
from kombu.transport.virtual import Message

from celerant import Celerant
from celerant._core import read_deliveries
from celerant.common.amqp_message import AmqpMessage
from celerant.common.limits import Limits
from celerant.worker import redis_message
from celerant.worker.memory_message import MemoryMessage
from celerant.worker.message import Reader
from celerant.worker.redis_message import read_messages
from celerant.worker.refused import Refused
from conformance.test_amqp_deliveries import delivered

LIMITS = Limits(size=1 << 20, depth=1000)
TEXTS = ["", "x", "é", '"\\', "\n", "\u2028", "😀", "\x00", "__type__"]
NUMBERS = [0, -1, 7, 2**53, 2**63 - 1, 2**63, -(2**64), 1.5, -0.0, 1e300, 0.1]


def value(rng, depth=0):
    """Any value, sometimes one that only kombu's reader knows."""
    kind = rng.randrange(7 if depth < 3 else 4)
    if kind == 4:
        return [value(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind == 5:
        return {rng.choice("abc"): value(rng, depth + 1) for _ in range(2)}
    if kind == 6:
        return {"__type__": "uuid", "__value__": {"hex": "0" * 32}}
    return rng.choice(
        [None, rng.random() < 0.5, rng.choice(TEXTS), rng.choice(NUMBERS)]
    )


def message(rng):
    """A usual message, or one with a part changed, removed or added."""
    headers = {
        **dict.fromkeys(("shadow", "eta", "expires", "parent_id", "stamped_headers")),
        "lang": "py",
        "task": "t",
        "id": "i",
        "group": "g",
        "group_index": 3,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "r",
        "origin": "o",
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "replaced_task_nesting": 0,
        "ignore_result": rng.choice([None, False, True]),
        "stamps": {},
    }
    info = {"exchange": "", "routing_key": "c"}
    properties = {
        "correlation_id": "i",
        "reply_to": "q",
        "delivery_mode": 2,
        "delivery_info": info,
        "priority": rng.choice([0, 3, None]),
        "body_encoding": "base64",
        "delivery_tag": "t",
    }
    envelope = {
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    empty = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    args = [value(rng) for _ in range(rng.randrange(3))]
    body = [args, {"k": value(rng)}, rng.choice([None, {}, empty])]
    if rng.random() < 0.1:
        body = value(rng)
    envelope["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    if rng.random() < 0.5:
        part = rng.choice([headers, headers, properties, info, envelope])
        name = rng.choice([*part, "mine", "__type__", "redelivered"])
        if rng.random() < 0.2:
            part.pop(name, None)
        else:
            part[name] = value(rng)
    return json.dumps(envelope, ensure_ascii=rng.random() < 0.5).encode()


def told(reader, read):
    """All that a worker learns of a message."""
    try:
        if isinstance(read, Refused):
            raise read
        delivery = reader.read(read)
    except Refused as refused:
        request = refused.request
        return refused.reason, None if request is None else request.id
    request = delivery.request
    fields = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
    parts = ("headers", "properties", "body", "delivery_info", "content_type")
    of_message = {part: getattr(read, part) for part in parts}
    times = delivery.due, delivery.expires
    again = getattr(read, "serializable", lambda: None)()
    return fields, times, of_message, again


@pytest.fixture
def reader():
    app = Celerant("envelopes", set_as_current=False)
    app.task(name="t")(lambda *_, **__: None)
    return Reader(app.tasks, {"application/json"}, "h", limits=LIMITS)


@pytest.mark.parametrize("seed", range(4))
def test_the_core_reads_lists_of_redis_as_kombu_would(reader, seed):
    channel = SimpleNamespace(Message=Message)
    rng, usual = random.Random(seed), 0
    for _ in range(1500):
        text = message(rng)
        (read,) = read_messages(b"[" + text + b"]", [len(text)], channel, LIMITS)
        usual += getattr(read, "fields", None) is not None
        alone = redis_message._unusual(text, channel, LIMITS)
        assert repr(told(reader, read)) == repr(told(reader, alone)), text
    assert usual > 300


@pytest.mark.parametrize("seed", range(4))
def test_the_core_reads_queues_in_memory_as_kombu_would(reader, seed):
    channel = SimpleNamespace(Message=Message)
    rng, usual = random.Random(seed), 0
    for _ in range(1500):
        text = message(rng)
        found = []
        # In memory an item is what the sender has put there.
        for limits in (LIMITS, Limits(size=1)):
            try:
                read = MemoryMessage.of_queue(json.loads(text), channel, limits)
            except Exception as exc:  # noqa: BLE001 - an item may be anything
                found.append(type(exc))
            else:
                has_fields = getattr(read, "fields", None) is not None
                assert has_fields <= (limits is LIMITS)
                usual += has_fields
                found.append(repr(told(reader, read)))
        assert found[0] == found[1], text
    assert usual > 300


@pytest.mark.parametrize("seed", range(4))
def test_the_core_reads_deliveries_as_python_would(reader, seed):
    rng, usual = random.Random(seed), 0
    for _ in range(1500):
        raw = json.loads(message(rng))
        try:
            buffer = delivered(amqp_properties(raw), base64.b64decode(raw["body"]))
        except Exception:  # noqa: BLE001 - no such message can be sent
            continue
        ((*parts, fields),) = read_deliveries(buffer, 3, 1 << 20)[0] or [(0, None)]
        if len(parts) < 7:
            # Frames, which are left to py-amqp.
            continue
        usual += fields is not None
        ours, theirs = AmqpMessage(*parts, fields), AmqpMessage(*parts, None)
        assert repr(told(reader, ours)) == repr(told(reader, theirs)), raw
        short = read_deliveries(buffer, 3, len(parts[-1]) - 1)[0]
        assert short[0][-1] is None
    assert usual > 300


def amqp_properties(raw):
    """The properties of the same message over AMQP."""
    properties = dict(raw["properties"])
    for name in ("body_encoding", "delivery_info", "delivery_tag"):
        properties.pop(name, None)
    properties["application_headers"] = raw["headers"]
    properties["content_type"] = raw["content-type"]
    properties["content_encoding"] = raw["content-encoding"]
    return {name: value for name, value in properties.items() if value is not None}


def test_messages_of_one_reply_keep_apart():
    texts = [message(random.Random(seed)) for seed in range(300)]
    whole = b"[" + b",".join(texts) + b"]"
    channel = SimpleNamespace(Message=Message)
    found = [*read_messages(whole, [*map(len, texts)], channel, LIMITS)]
    for read, text in zip(found, texts, strict=True):
        (alone,) = read_messages(b"[" + text + b"]", [len(text)], channel, LIMITS)
        assert type(read) is type(alone)
        if not isinstance(read, Refused):
            assert read.properties == alone.properties
            assert getattr(read, "fields", 0) == getattr(alone, "fields", 0)


def test_a_reply_shorter_than_its_messages_is_an_error():
    with pytest.raises(ValueError, match="no message at 1 to 6 of 4 bytes"):
        redis_message.read_envelopes(b"[{}]", [5])
