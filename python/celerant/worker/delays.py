"""Native delayed delivery: RabbitMQ holds messages for quorum queues that run later.

A channel of quorum queues has a fixed prefetch count. A worker that held messages with
an eta itself would soon hold no others.
Source: ``celery.worker.consumer.delayed_delivery`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu.common import Broadcast
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["are_quorum", "offer_delays"]

logger = logging.getLogger("celerant.worker")


def are_quorum(queues: Iterable[Any]) -> bool:
    """Whether any of these queues (kombu's) is a quorum queue."""
    return any(
        (queue.queue_arguments or {}).get("x-queue-type") == "quorum"
        for queue in queues
    )


def offer_delays(
    connect: Callable[[], Any], queue_type: str | None, queues: Sequence[Any]
) -> None:
    """Let senders delay messages to `queues`, if RabbitMQ can.

    It can if one of them is a quorum queue, and only for queues that are not bound to a
    direct exchange. A failure is logged, since a worker is of use without delays.

    Args:
        connect: Returns a new connection, not yet connected.
        queue_type: The type of the queues that hold delayed messages; None is quorum.
        queues: kombu's, declared.
    """
    reached = [
        queue
        for queue in queues
        if queue.exchange
        and queue.exchange.type != "direct"
        and not isinstance(queue, Broadcast)
    ]
    if not reached or not are_quorum(queues):
        return
    try:
        with connect() as connection:
            if connection.transport.driver_type != "amqp":
                return
            declare_native_delayed_delivery_exchanges_and_queues(
                connection, queue_type or "quorum"
            )
            for queue in reached:
                bind_queue_to_native_delayed_delivery_exchange(connection, queue)
    except Exception as exc:  # noqa: BLE001 - any failure leaves the worker without delays
        logger.warning(
            "no native delayed delivery to %s (%s: %s); tasks with an eta wait in the "
            "worker",
            ", ".join(queue.name for queue in reached),
            type(exc).__name__,
            exc,
        )
