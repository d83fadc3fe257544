"""Write the wire bytes that kombu, redis-py and py-amqp make, for the Rust tests.

Run: ``python tests/conformance/make_wire_vectors.py``; it rewrites
``rust/core/tests/data/wire.json``.
"""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import celery
from amqp import Message
from amqp.method_framing import frame_writer
from amqp.serialization import dumps as amqp_dumps
from kombu import Connection
from kombu.utils.json import dumps as kombu_dumps
from make_saferepr_vectors import text_hex, tree, write
from redis.connection import PythonRespSerializer

#: Stand where a slot will be cut; no text of the cases contains them.
SLOTS = {"id": "@ID@", "argsrepr": "@ARGS@", "kwargsrepr": "@KWARGS@", "body": "@BODY@"}
INDEX_SLOT = 1515870810
FRAME_MAX = 4096
CHANNEL = 5
MARK = ("_kombu.celerant.mark", 12)
#: id, args, kwargs; the last body takes several frames.
MEMBERS: list[tuple[str, Any, dict[str, Any]]] = [
    ("plain-id", (1, 2), {}),
    ('id "quoted" ü', ("it's", "\ud800", None), {"k": [1.5, True, {"n": ()}]}),
    ("c" * 255, ["日本語 " * 300], {}),
    ("d", (list(range(3000)),), {"x": "y" * 5000}),
]


def task_message(
    index: int, task_id: str, args: Any, kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return headers, properties and body text as celery's producer makes them."""
    app = celery.Celery("vectors", set_as_current=False)
    message = app.amqp.as_task_v2(
        task_id,
        "shop.add",
        args,
        kwargs,
        group_id="g",
        group_index=index,
        origin="gen1@host",
        time_limit=7,
        reply_to="reply",
        ignore_result=False,
    )
    properties = {**message.properties, "delivery_mode": 2}
    return message.headers, properties, json.dumps(message.body)


def slotted() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return headers and properties with the slots' texts in place of values."""
    headers, properties, _ = task_message(INDEX_SLOT, SLOTS["id"], (), {})
    headers |= {name: SLOTS[name] for name in ("argsrepr", "kwargsrepr")}
    return headers, properties


def cut(data: bytes, marks: dict[str, bytes]) -> list[list[str]]:
    """Cut `data` at every mark into constant pieces (hex) and slots."""
    found = [(data.find(mark), name) for name, mark in marks.items()]
    found = [(at, name) for at, name in found if at >= 0]
    if not found:
        return [["bytes", data.hex()]]
    at, name = min(found)
    rest = cut(data[at + len(marks[name]) :], marks)
    return [["bytes", data[:at].hex()], ["slot", name], *rest]


def redis_case() -> dict[str, Any]:
    """Return a transaction's pieces, and its bytes by kombu and redis-py."""
    channel = Connection("memory://").channel()
    # Drawn at random otherwise.
    channel._next_delivery_tag = lambda: "tag"

    def envelope(
        body: str, headers: dict[str, Any], properties: dict[str, Any]
    ) -> bytes:
        message = channel.prepare_message(
            body, 0, "application/json", "utf-8", headers, properties
        )
        channel._inplace_augment_message(message, "", "queue")
        text: str = kombu_dumps(message)
        return text.encode()

    marks = {name: text.encode() for name, text in SLOTS.items()}
    # The body's slot is inside base64, so its own text is found there.
    template = envelope("", *slotted()).replace(b'"body": ""', b'"body": "@BODY@"')
    pieces = cut(template, {**marks, "group_index": str(INDEX_SLOT).encode()})
    texts = [
        envelope(body, headers, properties)
        for headers, properties, body in (
            task_message(at, *member) for at, member in enumerate(MEMBERS)
        )
    ]
    commands: list[tuple[Any, ...]] = [
        ("MULTI",),
        ("LPUSH", "queue", *texts),
        ("PEXPIRE", "queue", 1000),
        ("SET", *MARK, "KEEPTTL"),
        ("EXEC",),
        ("WATCH", MARK[0]),
    ]

    def encode(word: Any) -> bytes:
        return word if isinstance(word, bytes) else str(word).encode()

    serializer = PythonRespSerializer(6000, encode)
    packed = b"".join(b"".join(serializer.pack(*command)) for command in commands)
    return {"pieces": pieces, "expected": packed.hex()}


def amqp_case() -> dict[str, Any]:
    """Return a message's pieces, and the frames that py-amqp writes."""

    def text(value: str, kind: str) -> bytes:
        data = value.encode()
        size = ">BI" if kind == "S" else ">B"
        head = (ord("S"), len(data)) if kind == "S" else (len(data),)
        return struct.pack(size, *head) + data

    def content(
        body: bytes, headers: dict[str, Any], properties: dict[str, Any]
    ) -> Message:
        return Message(
            body,
            content_type="application/json",
            content_encoding="utf-8",
            application_headers=headers,
            **properties,
        )

    method = amqp_dumps("Bssbb", (0, "", "queue", True, False))
    headers, properties = slotted()
    whole = content(b"", headers, properties)._serialize_properties()
    table = amqp_dumps("F", (headers,))
    at = whole.index(table)
    marks = {name: text(mark, "S") for name, mark in SLOTS.items()}
    marks["group_index"] = b"I" + struct.pack(">i", INDEX_SLOT)
    after = whole[at + len(table) :]

    written: list[bytes] = []
    transport = SimpleNamespace(write=lambda data: written.append(bytes(data)))
    connection = SimpleNamespace(frame_max=FRAME_MAX, bytes_sent=0)
    write_frame = frame_writer(connection, transport)
    for index, member in enumerate(MEMBERS):
        own_headers, own_properties, body = task_message(index, *member)
        message = content(body.encode(), own_headers, own_properties)
        write_frame(1, CHANNEL, (60, 40), method, message)
    return {
        "method": (struct.pack(">HH", 60, 40) + method).hex(),
        "before": whole[:at].hex(),
        "table": cut(table[4:], marks),
        "after": cut(after, {"id": text(SLOTS["id"], "s")}),
        "frame_max": FRAME_MAX,
        "channel": CHANNEL,
        "expected": b"".join(written).hex(),
    }


def wire_cases() -> list[dict[str, Any]]:
    """Return one case: members, their pieces and bytes on each wire."""
    members = [
        {"id": text_hex(task_id), "args": tree(args), "kwargs": tree(kwargs)}
        for task_id, args, kwargs in MEMBERS
    ]
    embed = json.dumps(dict.fromkeys(("callbacks", "errbacks", "chain", "chord")))
    case = {"members": members, "embed": embed, "mark": MARK}
    return [{**case, "redis": redis_case(), "amqp": amqp_case()}]


if __name__ == "__main__":
    write("wire.json", wire_cases())
