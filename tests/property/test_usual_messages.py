"""Messages that the core reads are those that kombu's reader would read."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import random
from types import SimpleNamespace

import pytest
from kombu.transport.virtual import Message

from celerant import Celerant
from celerant._core import read_deliveries, read_raw
from celerant.common.amqp_message import AmqpMessage
from celerant.common.limits import Limits
from celerant.worker import redis_message
from celerant.worker.memory_message import MemoryMessage
from celerant.worker.message import Reader
from celerant.worker.redis_message import read_messages
from celerant.worker.refused import Refused
from conformance.test_amqp_deliveries import delivered

LIMITS = Limits(size=1 << 20, depth=1000)
#: As a worker reads: the limits, and the most bytes that the core may read.
READ = LIMITS, 1 << 20
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


@pytest.fixture(params=[False, True])
def reader(request):
    app = Celerant("envelopes", set_as_current=False)
    app.task(name="t", ignore_result=request.param)(lambda *_, **__: None)
    pid = 7 if request.param else 0
    return Reader(app.tasks, {"application/json"}, "h", memory_pid=pid, limits=LIMITS)


@pytest.mark.parametrize("seed", range(4))
def test_the_core_reads_lists_of_redis_as_kombu_would(reader, seed):
    channel = SimpleNamespace(Message=Message)
    rng, usual = random.Random(seed), 0
    for _ in range(1500):
        text = message(rng)
        (read,) = read_messages(b"[" + text + b"]", [len(text)], channel, *READ)
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
        for longest in (1 << 20, 0):
            try:
                read = MemoryMessage.of_queue(json.loads(text), channel, longest)
            except Exception as exc:  # noqa: BLE001 - an item may be anything
                found.append(type(exc))
            else:
                has_fields = getattr(read, "fields", None) is not None
                assert has_fields <= (longest > 0)
                usual += has_fields
                found.append(repr(told(reader, read)))
        assert found[0] == found[1], text
    assert usual > 300


def usual_message():
    """A message that the core reads."""
    raws = (json.loads(message(random.Random(seed))) for seed in itertools.count())
    return next(raw for raw in raws if read_raw(raw) is not None)


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Table(dict):
    pass


#: Parts that only a queue in this process can hold: a part, a name and a value of it.
OF_PYTHON = [
    ("headers", "timelimit", (None, None)),
    ("headers", "timelimit", (None, 5)),
    ("headers", "stamped_headers", ("a", "b")),
    ("headers", "stamped_headers", [Text("a")]),
    ("headers", "id", Text("i")),
    ("headers", "task", Text("t")),
    ("headers", "id", "\ud800"),
    ("headers", "group", "\ud800"),
    ("headers", "group_index", Number(3)),
    ("headers", "group_index", True),
    ("headers", "retries", Number(3)),
    ("headers", "retries", 2**70),
    ("headers", "ignore_result", Number(1)),
    ("headers", "stamps", Table(a=1)),
    ("headers", "stamps", {"a": {1, 2}}),
    ("headers", "argsrepr", Text("()")),
    ("headers", "argsrepr", b"()"),
    ("headers", 7, "seven"),
    ("headers", None, None),
    ("properties", "priority", Number(3)),
    ("properties", "priority", True),
    ("properties", "reply_to", "é" * 128),
    ("properties", "reply_to", Text("q")),
    ("properties", "correlation_id", "\ud800"),
    ("properties", "body_encoding", Text("base64")),
    ("properties", 7, object),
    ("delivery_info", "redelivered", True),
    ("delivery_info", "redelivered", 1),
    ("delivery_info", "exchange", None),
    ("delivery_info", "routing_key", Text("c")),
]


@pytest.mark.parametrize("case", range(len(OF_PYTHON)))
def test_the_core_leaves_what_is_no_json_to_python(reader, case):
    part, name, put = OF_PYTHON[case]
    channel, found = SimpleNamespace(Message=Message), []
    for longest in (1 << 20, 0):
        raw = usual_message()
        parts = {**raw, "delivery_info": raw["properties"]["delivery_info"]}
        parts[part][name] = put
        read = MemoryMessage.of_queue(raw, channel, longest)
        found.append(repr(told(reader, read)))
    assert found[0] == found[1]


def nested(levels, inner):
    """The text of a body whose arguments have so many levels, with the body's own."""
    opened = levels - 2
    return f"[[{'[' * opened}{inner}{']' * opened}], {{}}, null]".encode()


@pytest.mark.parametrize("inner", ["", "1"])
@pytest.mark.parametrize("levels", range(198, 203))
@pytest.mark.parametrize("limit", [199, 200, 201, 202])
def test_no_message_is_deeper_than_the_limit(limit, levels, inner):
    app = Celerant("deep", set_as_current=False)
    app.task(name="t")(lambda *_, **__: None)
    limits = Limits(depth=limit)
    reader = Reader(app.tasks, {"application/json"}, "h", limits=limits)
    raw = usual_message()
    raw["body"] = base64.b64encode(nested(levels, inner)).decode()
    channel = SimpleNamespace(Message=Message)
    read = MemoryMessage.of_queue(raw, channel, reader.longest)
    if levels <= limit:
        assert reader.read(read).request.args
    else:
        with pytest.raises(Refused, match="celerant_message_depth_limit"):
            reader.read(read)


def test_an_option_that_raises_refuses_the_message(reader):
    class Odd:
        name = "t"

        @property
        def ignore_result(self):
            msg = "it is mine"
            raise RuntimeError(msg)

    reader._tasks = {"t": Odd()}
    raw = usual_message()
    raw["headers"]["ignore_result"] = None
    read = MemoryMessage.of_queue(raw, None, 1 << 20)
    assert read.fields is not None
    with pytest.raises(Refused, match="it is mine") as caught:
        reader.read(read)
    assert caught.value.request.id == "i"


def test_tasks_of_one_group_in_memory_have_stamps_of_their_own(reader):
    raw = usual_message()
    raw["headers"]["stamps"] = {"a": 1}
    for longest in (1 << 20, 0):
        read = MemoryMessage.of_queue(raw, None, longest)
        reader.read(read).request.stamps["a"] = 2
        assert raw["headers"]["stamps"] == {"a": 1}


@pytest.mark.parametrize("seed", range(4))
def test_the_core_reads_deliveries_as_python_would(reader, seed):
    rng, usual = random.Random(seed), 0
    for _ in range(1500):
        raw = json.loads(message(rng))
        try:
            body = base64.b64decode(raw["body"])
            buffer = delivered(amqp_properties(raw), body, again=rng.random() < 0.5)
        except Exception:  # noqa: BLE001 - no such message can be sent
            continue
        ((*parts, fields),) = read_deliveries(buffer, 3, 1 << 20)[0] or [(0, None)]
        if len(parts) < 7:
            # Frames, which are left to py-amqp.
            continue
        usual += fields is not None
        ours, theirs = AmqpMessage(*parts, fields), AmqpMessage(*parts, None)
        assert repr(told(reader, ours)) == repr(told(reader, theirs)), raw
        short = read_deliveries(buffer, 3, max(0, len(body) - 1))[0]
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
    found = [*read_messages(whole, [*map(len, texts)], channel, *READ)]
    for read, text in zip(found, texts, strict=True):
        (alone,) = read_messages(b"[" + text + b"]", [len(text)], channel, *READ)
        assert type(read) is type(alone)
        if not isinstance(read, Refused):
            assert read.properties == alone.properties
            assert getattr(read, "fields", 0) == getattr(alone, "fields", 0)


def test_a_reply_shorter_than_its_messages_is_an_error():
    with pytest.raises(ValueError, match="no message at 1 to 6 of 4 bytes"):
        redis_message.read_envelopes(b"[{}]", [5])
