"""Make AMQP frames of replies, as kombu publishes them, for one write.

Source: AMQP 0-9-1, sections 2.3.5 and 4.2; ``Producer.publish`` of kombu 5.7.0.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BUNDLE", "Reply", "published"]

#: The ``type`` of a message with many records.
BUNDLE = "celerant-records"

_HEAD = Struct(">BHI")
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
#: Class and method of `basic.publish`, a reserved field, and an empty exchange.
_PUBLISH = b"\x00\x3c\x00\x28\x00\x00\x00"
#: Class, weight, length of the body, and the flags of the properties below.
_CONTENT = Struct(">HHQH")
#: Content type and encoding, headers, delivery mode, priority, correlation id.
_FLAGS = 0x8000 | 0x4000 | 0x2000 | 0x1000 | 0x0800 | 0x0400
_TYPE_FLAG = 0x0020
_BASIC = 60
_OVERHEAD = 8
_NO_HEADERS = b"\x00\x00\x00\x00"


class Reply(NamedTuple):
    """A record and its address."""

    record: bytes
    #: The reply queue of the task's sender.
    reply_to: str
    #: The task's id; "" for a bundle.
    correlation_id: str
    #: Whether it has many records (`rpc_bundles.py`).
    is_bundle: bool = False


def published(
    replies: Iterable[Reply],
    *,
    channel_id: int,
    frame_max: int,
    content: tuple[str, str],
    delivery_mode: int,
) -> bytes:
    """Return the frames that publish `replies` to the default exchange.

    Args:
        replies: The replies in order.
        channel_id: The channel's number.
        frame_max: The most bytes of a frame.
        content: Content type and encoding of the records.
        delivery_mode: 2 if the messages survive the broker's end, else 1.
    """
    properties = _short(content[0]) + _short(content[1]) + _NO_HEADERS
    properties += bytes((delivery_mode, 0))
    parts: list[bytes] = []
    bundle = _short(BUNDLE)
    for record, reply_to, correlation_id, is_bundle in replies:
        # Neither mandatory nor immediate: a message to a lost queue is dropped.
        method = _PUBLISH + _short(reply_to) + b"\x00"
        flags = _FLAGS | _TYPE_FLAG if is_bundle else _FLAGS
        head = _CONTENT.pack(_BASIC, 0, len(record), flags) + properties
        head += _short(correlation_id) + (bundle if is_bundle else b"")
        parts += _frame(_METHOD, channel_id, method)
        parts += _frame(_HEADER, channel_id, head)
        for piece in _pieces(record, frame_max - _OVERHEAD):
            parts += _frame(_BODY, channel_id, piece)
    return b"".join(parts)


def _frame(kind: int, channel_id: int, payload: bytes) -> tuple[bytes, bytes, bytes]:
    return _HEAD.pack(kind, channel_id, len(payload)), payload, _END


def _pieces(record: bytes, most: int) -> Iterator[bytes]:
    for at in range(0, len(record), most):
        yield record[at : at + most]


def _short(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded
