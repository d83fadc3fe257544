"""A message from one of kombu's in-process queues."""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any

__all__ = ["MemoryMessage"]


class MemoryMessage:
    """The parts of a message that a worker reads.

    kombu's own class also has channels, acknowledgements and encodings, and takes 8 us
    a message. `read` uses it for messages that are compressed or encoded differently.

    Source: ``kombu.transport.virtual.base.Message`` of kombu 5.7.0.
    """

    __slots__ = (
        "_raw",
        "body",
        "content_encoding",
        "content_type",
        "delivery_info",
        "headers",
        "properties",
    )

    #: The errors of decompressing, as in kombu's messages.
    errors = ()
    #: Compressed messages are of kombu's own class.
    is_packed = False

    def __init__(self, raw: dict[str, Any], body: bytes) -> None:
        properties = raw["properties"]
        self._raw = raw
        self.body = body
        self.content_type = raw.get("content-type")
        self.content_encoding = raw.get("content-encoding")
        self.headers = raw.get("headers") or {}
        self.properties = properties
        self.delivery_info = properties.get("delivery_info") or {}

    @classmethod
    def read(cls, raw: dict[str, Any], channel: Any) -> Any:
        """Return a queue's item as a message of this class or of kombu's.

        Raises:
            Exception: The item is no message.
        """
        body, headers = raw.get("body"), raw.get("headers")
        if (
            isinstance(body, str)
            and raw["properties"].get("body_encoding") == "base64"
            and (not headers or "compression" not in headers)
        ):
            return cls(raw, a2b_base64(body))
        return channel.Message(raw, channel=channel)

    def serializable(self) -> dict[str, Any]:
        """Return the message as it was in its queue."""
        return self._raw
