"""Messages that stay packed until they are read, within limits.

kombu unpacks a compressed message of any size before it looks at the headers.

Source: ``kombu.message.Message`` and ``kombu.transport.virtual`` of kombu 5.7.0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kombu.serialization import loads

from celerant.common.printable import shown

if TYPE_CHECKING:
    from celerant.common.limits import Limits

__all__ = ["body_of", "leave_unopened"]

_JSON = "application/json"


def leave_unopened(channel: Any, limits: Limits) -> None:
    """Make messages of a kombu channel unpack only when they are read."""
    cls = getattr(channel, "Message", None)
    if isinstance(cls, type):
        channel.Message = _unopened(cls, limits)


def body_of(message: Any, limits: Limits, accept: Any) -> Any:
    """Return a message's body, unpacked.

    Args:
        message: kombu's, or an object like it.
        limits: The limits of its size.
        accept: Content types that are read.

    Raises:
        TooMuchError: It is too large.
        Exception: It cannot be unpacked, or its content type is not accepted.
    """
    if message.errors:
        raise message.errors[0][1]
    body = message.body
    limits.check_size(len(body))
    if not getattr(message, "is_packed", False):
        return body
    # A refused content type need not be unpacked: this raises then.
    loads(b"", message.content_type, message.content_encoding, accept=accept)
    return limits.unpack(body, message.headers["compression"])


@lru_cache(maxsize=64)
def _unopened(cls: Any, limits: Limits) -> Any:
    class Unopened(cls):  # type: ignore[misc]
        """A message whose body is as it came."""

        def __init__(self, *args: Any, **options: Any) -> None:
            # kombu does not unpack a message that has an error already.
            self.errors: list[Any] = [None]
            super().__init__(*args, **options)
            self.errors.clear()
            _check(self)
            self.is_packed = bool(self.headers.get("compression"))

        def _decode(self) -> Any:
            body = body_of(self, limits, self.accept)
            value = loads(
                body, self.content_type, self.content_encoding, accept=self.accept
            )
            limits.check_depth(value, body if self.content_type == _JSON else None)
            return value

        def serializable(self) -> Any:
            # kombu's own method would keep the body and drop the header with its
            # compression.
            return self._raw if hasattr(self, "_raw") else super().serializable()

    Unopened.__name__ = cls.__name__
    return Unopened


def _check(message: Any) -> None:
    """Refuse a message that would fail later, and then cost the connection.

    Raises:
        TypeError: It is no envelope.
    """
    tag = message.delivery_tag
    if not isinstance(tag, (str, int)) or isinstance(tag, bool) or tag == "":
        raise _wrong("delivery_tag", tag)
    for name in ("headers", "properties", "delivery_info"):
        if not isinstance(getattr(message, name), dict):
            raise _wrong(name, getattr(message, name))
    for name in ("exchange", "routing_key"):
        value = message.delivery_info.get(name)
        if value is not None and not isinstance(value, str):
            raise _wrong(name, value)
    if not isinstance(message.body, (str, bytes, memoryview)):
        raise _wrong("body", message.body)


def _wrong(name: str, value: Any) -> TypeError:
    return TypeError(f"{name} cannot be {shown(value, 80)}")
