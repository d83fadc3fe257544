"""RabbitMQ's layout of a message: the members' common bytes, with slots."""

from __future__ import annotations

import struct
from typing import Any

from amqp import Message, spec
from amqp.serialization import dumps as pack_arguments

from celerant._core import Layout
from celerant.dispatch.envelope import SLOTS, Blueprint
from celerant.dispatch.wires.base import unfit

__all__ = ["field_of", "layout_of"]


def layout_of(blueprint: Blueprint, *, mandatory: bool) -> Layout:
    """Encode a message.

    Args:
        blueprint: The message's.
        mandatory: Whether it comes back if no queue takes it.
    Raises:
        EncodeError: A header or property that no message can carry.
    """
    body = blueprint.body
    message = Message(
        b"",
        priority=blueprint.priority,
        content_type=body.content_type,
        content_encoding=body.content_encoding,
        application_headers=blueprint.headers,
        delivery_mode=blueprint.delivery_mode,
        **blueprint.properties,
    )
    method = struct.pack(">HH", *spec.Basic.Publish) + pack_arguments(
        "Bssbb",
        (
            0,
            blueprint.exchange,
            blueprint.routing_key or "",
            mandatory,
            blueprint.immediate,
        ),
    )
    try:
        encoded = message._serialize_properties()  # noqa: SLF001 - py-amqp has no public encoder
    except Exception as exc:
        raise unfit(exc) from exc
    before, table, after = _sections(encoded)
    return Layout.amqp(
        method,
        before=before,
        table=_cut(table, b"S%b%b", ">I"),
        after=_cut(after, b"%b%b", ">B"),
    )


def field_of(value: Any) -> bytes:
    """Encode a header's value."""
    # It is encoded as the one item of a table, without a name.
    table: bytes = pack_arguments("F", [{"": value}])
    return table[5:]


def _sections(properties: bytes) -> tuple[bytes, bytes, bytes]:
    """Split encoded basic properties around the content of their header table.

    Source: AMQP 0-9-1, 4.2.6.1: flags, then the properties present, in order.
    """
    (flags,) = struct.unpack_from(">H", properties)
    at = 2
    for bit in (15, 14):  # content_type, content_encoding: short strings
        if flags & (1 << bit):
            at += 1 + properties[at]
    (length,) = struct.unpack_from(">I", properties, at)
    table = at + 4
    return (
        properties[:at],
        properties[table : table + length],
        properties[table + length :],
    )


def _cut(
    encoded: bytes, field_format: bytes, length_format: str
) -> list[bytes | tuple[str]]:
    """Cut encoded fields at their slots, length prefixes included."""
    parts: list[bytes | tuple[str]] = [encoded]
    for name, text in SLOTS.items():
        value = text.encode()
        field = field_format % (struct.pack(length_format, len(value)), value)
        cut: list[bytes | tuple[str]] = []
        for part in parts:
            if isinstance(part, tuple):
                cut.append(part)
                continue
            pieces = part.split(field)
            for piece in pieces[:-1]:
                cut += [piece, (name,)]
            cut.append(pieces[-1])
        parts = cut
    return parts
