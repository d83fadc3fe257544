"""Messages as they lie in a queue, decoded, without the fields that may differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu import Connection, Queue

__all__ = ["Captured", "drain", "normalised", "raw_envelopes"]


@dataclass
class Captured:
    """One message: everything that its receiver can see."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    body: bytes
    content_type: str
    content_encoding: str
    delivery_info: dict[str, Any]


def drain(url: str, queue: str) -> list[Captured]:
    """Take every message out of `queue`, oldest first, undecoded."""
    found = []
    with Connection(url) as connection:
        bound = Queue(queue, channel=connection.channel(), no_declare=True)
        while (message := _next(bound, connection.channel_errors)) is not None:
            body = message.body
            found.append(
                Captured(
                    headers=dict(message.headers),
                    properties=dict(message.properties),
                    body=body.encode() if isinstance(body, str) else bytes(body),
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    delivery_info=dict(message.delivery_info),
                )
            )
    return found


def _next(queue: Queue, channel_errors: tuple[type[Exception], ...]) -> Any:
    try:
        return queue.get(no_ack=True)
    except channel_errors:
        # RabbitMQ closes the channel over an undeclared queue.
        return None


def raw_envelopes(client: Any, key: str) -> list[dict[str, Any]]:
    """Return the items of a Redis list as JSON objects, oldest first."""
    return [json.loads(raw) for raw in reversed(client.lrange(key, 0, -1))]


def normalised(messages: Iterable[Captured]) -> list[dict[str, Any]]:
    """Return messages as plain dicts in which equal means conforming.

    Ids are replaced by the order of their first appearance, so that their relations
    stay; origin, reply_to and delivery_tag only keep their type; dates become
    `Moment`s that are equal within five seconds.
    """
    names: dict[str, str] = {}

    def named(value: Any) -> Any:
        if value is None:
            return None
        return names.setdefault(value, f"<id {len(names)}>")

    return [_normalised(message, named) for message in messages]


def _normalised(message: Captured, named: Callable[[Any], Any]) -> dict[str, Any]:
    headers = dict(message.headers)
    for field in ("id", "root_id", "parent_id", "group"):
        headers[field] = named(headers[field])
    headers["origin"] = type(headers["origin"])
    for field in ("eta", "expires"):
        headers[field] = _moment(headers[field])
    properties = dict(message.properties)
    # amqp gives the headers a second time.
    assert properties.pop("application_headers", message.headers) == message.headers
    properties["correlation_id"] = named(properties["correlation_id"])
    for field in ("reply_to", "delivery_tag"):
        if field in properties:
            properties[field] = type(properties[field])
    if "expiration" in properties:
        properties["expiration"] = Moment(float(properties["expiration"]) / 1000)
    delivery_info = dict(message.delivery_info)
    # RabbitMQ's own: about the message's place, not its contents.
    for field in ("delivery_tag", "message_count", "redelivered"):
        delivery_info.pop(field, None)
    if "delivery_info" in properties:
        properties["delivery_info"] = dict(properties["delivery_info"])
    return {
        "headers": headers,
        "properties": properties,
        "body": message.body,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "delivery_info": delivery_info,
    }


#: Less than any two moments that a test tells apart.
_NEAR_S = 5


class Moment:
    """A point in time that equals any other within five seconds.

    Two sides run one after the other, on machines that are busy with other tests.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Moment) and abs(self.seconds - other.seconds) <= _NEAR_S
        )

    def __repr__(self) -> str:
        return f"Moment({self.seconds})"


def _moment(text: str | None) -> Any:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    # The form counts too: with an offset or without, with microseconds or without.
    return Moment(moment.timestamp()), moment.utcoffset(), moment.microsecond != 0
