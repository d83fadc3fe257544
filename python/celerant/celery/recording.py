"""Celery's calls of a producer, and the messages that kombu would make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kombu import Exchange
from kombu.entity import maybe_delivery_mode

from celerant.dispatch.envelope import Blueprint, BodyEncoder

__all__ = ["Recorder", "blueprint_of"]


def blueprint_of(
    body: Any, fields: Mapping[str, Any], encoder: BodyEncoder | None = None
) -> Blueprint:
    """Return the message that `Producer.publish` of kombu 5.7.0 would make.

    Args:
        body: The message's.
        fields: All other arguments.
        encoder: The body's, if there is one already.
    """
    fields = dict(fields)
    take = fields.pop
    exchange, delivery_mode = take("exchange"), take("delivery_mode")
    if isinstance(exchange, Exchange):
        delivery_mode = delivery_mode or exchange.delivery_mode
        exchange = exchange.name
    headers = dict(take("headers"))
    serializer, compression = take("serializer"), take("compression")
    encoder = encoder or BodyEncoder(body[2], serializer, compression)
    if encoder.compression:
        headers["compression"] = encoder.compression
    expiration = take("expiration", None)
    blueprint = Blueprint(
        headers=headers,
        properties={},
        exchange=exchange,
        routing_key=take("routing_key"),
        declare=tuple(take("declare") or ()),
        priority=take("priority", 0),
        delivery_mode=maybe_delivery_mode(delivery_mode),
        # As in Celery by default: an unroutable message is dropped.
        mandatory=bool(take("mandatory", None)),
        immediate=bool(take("immediate", None)),
        retry=take("retry"),
        retry_policy=take("retry_policy"),
        timeout=take("timeout"),
        confirm_timeout=take("confirm_timeout"),
        body=encoder,
    )
    blueprint.properties.update(fields)
    if expiration is not None:
        blueprint.properties["expiration"] = str(int(expiration * 1000))
    return blueprint


class Recorder:
    """Takes the place of a producer and keeps the message to publish."""

    def __init__(self) -> None:
        #: The arguments for receivers of `before_task_publish`.
        self.told: dict[str, Any] = {}
        self.body: Any = None
        self.fields: dict[str, Any] = {}
        self.connection = self

    @contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        # `send_task` enters this context of a producer's connection.
        yield

    def publish(self, body: Any, **fields: Any) -> None:
        """Keep the message to publish."""
        self.body, self.fields = body, fields

    def hear(self, **told: Any) -> None:
        """Keep the arguments of `before_task_publish`."""
        self.told = told
