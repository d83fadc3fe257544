"""The fields of a chunk's messages on RabbitMQ's wire, to match refusals with."""

from __future__ import annotations

import re
import struct
from typing import Any, NamedTuple

from amqp.serialization import PROPERTY_CLASSES
from amqp.spec import Basic

from celerant._core import Chunk

__all__ = ["Said", "is_meant", "said_at"]

#: Bytes of a frame before its payload, and after.
_HEAD, _END = 7, 1
#: Class, method and a reserved field; class and weight.
_BEFORE_EXCHANGE, _BEFORE_SIZE = 6, 4


class Said(NamedTuple):
    """The fields for which the broker may refuse a message."""

    exchange: str
    user_id: str | None
    expiration: str | None
    body_bytes: int


def said_at(chunk: Chunk, position: int) -> Said:
    """Return the fields of the message at a position of a chunk.

    Source: AMQP 0-9-1, 2.3.5 and 4.2.6; the frames are those of the wire's own encoder.
    """
    frames = chunk.amqp(1, 0, position, 1)[0]
    (method_bytes,) = struct.unpack_from(">I", frames, 3)
    at = _HEAD + _BEFORE_EXCHANGE
    exchange = frames[at + 1 : at + 1 + frames[at]].decode()
    at = _HEAD + method_bytes + _END + _HEAD + _BEFORE_SIZE
    (body_bytes,) = struct.unpack_from(">Q", frames, at)
    properties: dict[str, Any] = PROPERTY_CLASSES[Basic.CLASS_ID](frames, at + 8)[0]
    return Said(
        exchange, properties.get("user_id"), properties.get("expiration"), body_bytes
    )


def is_meant(refusal: str, said: Said) -> bool:
    """Whether a refusal names a field of this message.

    RabbitMQ closes the channel and gives no tag: ``no exchange 'x' in vhost '/'``,
    ``user_id property set to 'x' but ..``, ``invalid expiration 'x'``, ``message size 9
    is larger than ..``.
    """
    size = re.search(r"message size (\d+)", refusal)
    if size is not None:
        return said.body_bytes == int(size[1])
    named = re.search(r"'([^']*)'", refusal)
    if named is None:
        return False
    # A user's name may contain such words: only RabbitMQ's own words count.
    if "user_id property" in refusal:
        return said.user_id == named[1]
    if "invalid expiration" in refusal:
        return said.expiration == named[1]
    # RabbitMQ has a name for the exchange without a name.
    return (said.exchange or "amq.default") == named[1]
