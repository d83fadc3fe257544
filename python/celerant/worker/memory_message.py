"""A message from one of kombu's in-process queues."""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any

from celerant._core import read_raw

__all__ = ["MemoryMessage"]


class MemoryMessage:
    """The parts of a message that a worker reads.

    kombu's own class also has channels, acknowledgements and encodings, and takes 8 us
    a message.
    A message of the usual form, which the core has read, is taken apart when somebody
    asks for a part.

    Source: ``kombu.transport.virtual.base.Message`` of kombu 5.7.0.
    """

    __slots__ = (
        "body",
        "content_encoding",
        "content_type",
        "delivery_info",
        "fields",
        "headers",
        "properties",
        "raw",
    )

    #: The errors of decompressing, as in kombu's messages.
    errors = ()
    #: Compressed messages are of kombu's own class.
    is_packed = False

    #: The fields of its request, if it is of the usual form.
    fields: dict[str, Any] | None
    raw: dict[str, Any]

    def __init__(self, raw: dict[str, Any], body: bytes) -> None:
        self.fields = None
        self._take_apart(raw, body)

    def _take_apart(self, raw: dict[str, Any], body: bytes) -> None:
        properties = raw["properties"]
        self.raw = raw
        self.body = body
        self.content_type = raw.get("content-type")
        self.content_encoding = raw.get("content-encoding")
        self.headers = raw.get("headers") or {}
        self.properties = properties
        self.delivery_info = properties.get("delivery_info") or {}

    def __getattr__(self, name: str) -> Any:
        # Called for a part of a usual message that is not there yet.
        if name not in MemoryMessage.__slots__:
            raise AttributeError(name)
        raw = self._envelope()
        self._take_apart(raw, a2b_base64(raw["body"]))
        return getattr(self, name)

    def _envelope(self) -> dict[str, Any]:
        return self.raw

    @classmethod
    def of_queue(cls, raw: dict[str, Any], channel: Any, longest: int) -> Any:
        """Return a queue's item as a message of this class or of kombu's.

        Args:
            raw: The item.
            channel: kombu's; it reads messages that are compressed or encoded
                differently.
            longest: The most characters of a body that the core reads.

        Raises:
            Exception: The item is no message.
        """
        body, headers = raw.get("body"), raw.get("headers")
        if len(body or ()) <= longest:
            fields = read_raw(raw)
            if fields is not None:
                made = cls.__new__(cls)
                made.raw, made.fields = raw, fields
                return made
        if (
            isinstance(body, str)
            and raw["properties"].get("body_encoding") == "base64"
            and (not headers or "compression" not in headers)
        ):
            return cls(raw, a2b_base64(body))
        return channel.Message(raw, channel=channel)

    def serializable(self) -> dict[str, Any]:
        """Return the message as it was in its queue."""
        return self.raw
