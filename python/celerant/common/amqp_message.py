"""A message out of RabbitMQ's socket."""

from __future__ import annotations

from typing import Any

__all__ = ["AmqpMessage"]

_NO_HEADERS: dict[str, Any] = {}


class AmqpMessage:
    """What a worker reads of a message, and the tag by which it is settled.

    kombu's own class is made of another of py-amqp's, and knows channels.

    Source: ``kombu.transport.pyamqp.Message`` of kombu 5.7.0.
    """

    __slots__ = (
        "body",
        "content_encoding",
        "content_type",
        "delivery_info",
        "delivery_tag",
        "fields",
        "headers",
        "is_packed",
        "properties",
    )

    #: As kombu's messages, which tell here of what could not be decompressed.
    errors = ()

    def __init__(  # noqa: PLR0913, PLR0917 - what the protocol delivers, in its order
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,  # noqa: FBT001 - as above
        exchange: str,
        routing_key: str,
        properties: dict[str, Any],
        body: bytes,
        fields: dict[str, Any] | None,
    ) -> None:
        #: Those of its request, if it is of the usual form.
        self.fields = fields
        self.body = body
        self.properties = properties
        self.headers = headers = properties.get("application_headers") or _NO_HEADERS
        self.is_packed = "compression" in headers and bool(headers["compression"])
        self.content_type = properties.get("content_type")
        self.content_encoding = properties.get("content_encoding")
        self.delivery_tag = delivery_tag
        self.delivery_info = {
            "consumer_tag": consumer_tag,
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
        }
