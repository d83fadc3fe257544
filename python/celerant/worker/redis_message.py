"""Read messages from lists of Redis, many from one reply.

The core reads those of the usual form into the fields of their requests; the others
are read one by one.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import TYPE_CHECKING, Any

import orjson
from kombu.utils import json as kombu_json

from celerant._core import read_envelopes
from celerant.common.printable import shown
from celerant.worker.envelopes import unreadable
from celerant.worker.memory_message import MemoryMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celerant.common.limits import Limits
    from celerant.worker.refused import Refused

__all__ = ["RedisMessage", "read_messages"]

#: How many bytes of an unreadable message are shown.
_SHOWN = 400
#: The key of objects that only kombu's reader can decode.
_MARK = b"__type__"
_EXACT = frozenset({str, int, bool, type(None)})
#: The header ``timelimit`` of most messages.
_NO_LIMITS = [None, None]


class RedisMessage(MemoryMessage):
    """The parts of a message that a worker reads, and its queue."""

    __slots__ = ("noted_as", "queue", "text")

    #: The tag under which it is noted.
    noted_as: str
    queue: str
    #: The list's item, if it is of the usual form.
    text: bytes

    @classmethod
    def usual(cls, text: bytes, fields: dict[str, Any]) -> RedisMessage:
        """Return a message of the usual form.

        Args:
            text: The list's item.
            fields: Those of its request.
        """
        made = cls.__new__(cls)
        made.text, made.fields = text, fields
        return made

    def _envelope(self) -> dict[str, Any]:
        raw: dict[str, Any] = kombu_json.loads(self.text.decode())
        return raw

    @classmethod
    def read(cls, raw: dict[str, Any], channel: Any) -> Any:
        """Return a list's item as a message of this class or of kombu's.

        Raises:
            Exception: The item is no envelope.
        """
        if _is_usual(raw):
            return cls(raw, a2b_base64(raw["body"]))
        # kombu's class also reads compressed messages and says what is wrong.
        return channel.Message(raw, channel=channel)


def _is_usual(raw: Any) -> bool:
    """Whether an envelope is like most of kombu's: whole, base64, not compressed."""
    properties, headers = raw.get("properties"), raw.get("headers")
    if type(properties) is not dict or type(headers) is not dict:
        return False
    info, tag = properties.get("delivery_info"), properties.get("delivery_tag")
    return (
        type(info) is dict
        and type(tag) is str
        and tag != ""
        and type(raw.get("body")) is str
        and properties.get("body_encoding") == "base64"
        and "compression" not in headers
        and type(info.get("exchange", "")) is str
        and type(info.get("routing_key", "")) is str
    )


def read_messages(
    whole: bytes, lengths: Sequence[int], channel: Any, limits: Limits, longest: int
) -> Iterator[Any | Refused]:
    """Return a message or a refusal for each part of a reply.

    Args:
        whole: The messages as one JSON array, with a comma between two.
        lengths: The length of each in bytes.
        channel: kombu's; it reads messages that are compressed or encoded differently.
        limits: The limits of messages.
        longest: The most bytes of a message that the core reads.
    """
    usual: Sequence[dict[str, Any] | None] = [None] * len(lengths)
    if max(lengths, default=0) <= longest:
        usual = read_envelopes(whole, lengths)
    at = 1
    for fields, length in zip(usual, lengths, strict=True):
        text = whole[at : at + length]
        at += length + 1
        if fields is None:
            yield _unusual(text, channel, limits)
        else:
            yield RedisMessage.usual(text, fields)


def _unusual(text: bytes, channel: Any, limits: Limits) -> Any | Refused:
    try:
        limits.check_size(len(text))
        return RedisMessage.read(_value(text), channel)
    except Exception as exc:  # noqa: BLE001 - a message may hold anything
        return unreadable(exc, shown(text[:_SHOWN].decode(errors="replace")))


def _value(text: bytes) -> Any:
    if _MARK not in text:
        try:
            value = orjson.loads(text)
            if _is_exact(value):
                return value
        except (ValueError, KeyError):
            # kombu's reader says what is wrong.
            pass
    return kombu_json.loads(text.decode())


def _is_exact(envelope: Any) -> bool:
    """Whether orjson kept its numbers; it rounds integers above 64 bits."""
    headers = envelope.get("headers")
    if type(headers) is not dict:
        return True
    for value in headers.values():
        if type(value) not in _EXACT and value and value != _NO_LIMITS:
            return False
    return type(envelope["properties"].get("priority")) is not float
