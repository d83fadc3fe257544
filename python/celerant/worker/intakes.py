"""The way on which messages come by a connection: the fastest that it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.worker.kombu_intake import KombuIntake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from celerant.worker.intake import Intake
    from celerant.worker.redis_intake import RedisIntake

__all__ = ["new_intake", "redis_volleys"]


def redis_volleys(
    connection: Any, channel: Any, queues: Sequence[Any], **options: Any
) -> RedisIntake | None:
    """Return an intake that outlives connections, if this is one to Redis.

    Args:
        connection: Of kombu, connected.
        channel: Of it.
        queues: Of kombu.
        options: Of `RedisIntake`.
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
    accept: AbstractSet[str],
) -> Intake:
    """Return the intake of one connection (of kombu); `receive` is told of messages."""
    if connection.transport.driver_type == "amqp":
        from celerant.worker.amqp_intake import AmqpIntake, reads  # noqa: PLC0415 - py-amqp may be absent

        if reads(channel, queues):
            return AmqpIntake(channel, queues, receive, accept)
    return KombuIntake(channel, queues, receive, accept)
