"""Choose the fastest intake that a connection allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.worker.kombu_intake import KombuIntake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.intake import Intake
    from celerant.worker.message import Reader
    from celerant.worker.redis_intake import RedisIntake

__all__ = ["new_intake", "redis_volleys"]


def redis_volleys(
    connection: Any, channel: Any, queues: Sequence[Any], **options: Any
) -> RedisIntake | None:
    """Return an intake for Redis, which outlives connections; None for other brokers.

    Args:
        connection: kombu's, connected.
        channel: The connection's.
        queues: kombu's.
        options: Those of `RedisIntake`.
    """
    if connection.transport.driver_type != "redis":
        return None
    from celerant.worker.redis_intake import open_volleys  # noqa: PLC0415 - redis-py may be absent

    return open_volleys(channel, queues, **options)


def new_intake(
    connection: Any,
    channel: Any,
    queues: Sequence[Any],
    receive: Callable[[Any], None],
    reader: Reader,
) -> Intake:
    """Return an intake for one connection (kombu's).

    Args:
        connection: Connected.
        channel: The connection's.
        queues: kombu's.
        receive: Is called with each message.
        reader: Reads them; it knows what is accepted.
    """
    if connection.transport.driver_type == "amqp":
        from celerant.worker.amqp_intake import AmqpIntake, reads  # noqa: PLC0415 - py-amqp may be absent

        if reads(channel, queues):
            return AmqpIntake(channel, queues, receive, reader)
    return KombuIntake(channel, queues, receive, reader)
