"""The destination of a message, and the queues and exchanges that must exist there.

Source: ``AMQP._create_task_sender`` of celery 5.7.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kombu import Exchange, Queue
from kombu.common import Broadcast

from celerant.dispatch.routing import Queues
from celerant.errors import SettingError

__all__ = ["Destination", "destination_of", "mode_of"]

_MODES = {1: 1, 2: 2, "transient": 1, "persistent": 2}


@dataclass(slots=True, frozen=True)
class Destination:
    """The destination of a message."""

    exchange: str
    routing_key: str
    #: Queues and exchanges that must exist before.
    declare: tuple[Any, ...]
    #: None: neither queue nor exchange says.
    delivery_mode: int | str | None


def destination_of(options: dict[str, Any], queues: Queues) -> Destination:
    """Take the destination out of a task's options, once they are routed."""
    take = options.pop
    queue = take("queue", None)
    exchange, routing_key = take("exchange", None), take("routing_key", None)
    if queue is None and exchange is None:
        queue = queues[queues.default]
    bound = queue.exchange if isinstance(queue, Queue) else None
    delivery_mode = take("delivery_mode", None) or (bound and bound.delivery_mode)
    exchange_type = take("exchange_type", None) or (bound and bound.type)
    if (not exchange or not routing_key) and (exchange_type or "direct") == "direct":
        exchange, routing_key = "", queue.name if queue is not None else routing_key
    elif exchange is None:
        exchange = (bound and bound.name) or queues.default_exchange
        routing_key = routing_key or queue.routing_key
    declare = take("declare", None)
    if declare is None:
        # A broadcast's queues are its listeners'. It reaches all only if the exchange
        # is known: kombu's Redis takes an unknown exchange for a direct one.
        declare = [bound if isinstance(queue, Broadcast) else queue]
        declare = [entity for entity in declare if entity is not None]
    if isinstance(exchange, Exchange):
        declare = [*declare, exchange]
        delivery_mode = delivery_mode or exchange.delivery_mode
        exchange = exchange.name
    return Destination(exchange, routing_key, tuple(declare), delivery_mode)


def mode_of(delivery_mode: int | str) -> int:
    """Return the delivery mode as a number.

    Raises:
        SettingError: There is no such mode.
    """
    mode = _MODES.get(delivery_mode)
    if mode is None:
        msg = (
            f"delivery_mode must be 'transient' or 'persistent', not {delivery_mode!r}"
        )
        raise SettingError(msg, name="delivery_mode")
    return mode
