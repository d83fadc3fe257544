"""Messages for quorum queues that run later go to exchanges where RabbitMQ holds them.

A worker that held it would use up the fixed prefetch count of such a queue's channel.
Source: ``Celery.send_task`` and ``celery.utils.quorum_queues`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import calculate_routing_key

from celerant.dispatch.clock import moment_of

__all__ = ["delay_by_broker"]

logger = logging.getLogger("celerant")

#: The first of the exchanges that workers declare; each holds back one power of two.
_ENTRY = Exchange("celery_delayed_27", type="topic")


def delay_by_broker(
    options: dict[str, Any],
    queues: Iterable[Queue],
    *,
    countdown: float | None,
    eta: datetime | str | None,
) -> None:
    """Change the destination of a message that runs later, if RabbitMQ can hold it.

    Nothing changes if none of the app's queues is a quorum queue. Nothing changes for a
    direct exchange either, since it cannot tell delays apart; the log says so.

    Args:
        options: After routing; `queue`, `exchange` and `routing_key` may change.
        queues: All queues of the app.
        countdown: Seconds.
        eta: A date, or its ISO 8601 text; over `countdown`.
    """
    if not any(_is_quorum(queue) for queue in queues):
        return
    queue = options.get("queue")
    exchange = queue.exchange if isinstance(queue, Queue) else options.get("exchange")
    exchange_type = (
        getattr(exchange, "type", None) or options.get("exchange_type") or "direct"
    )
    if exchange_type == "direct":
        logger.warning(
            "%s is a direct exchange: RabbitMQ cannot hold messages for it, and a "
            "worker of quorum queues that holds them itself may be blocked by them; "
            "use a topic exchange",
            getattr(exchange, "name", exchange) or "the default exchange",
        )
        return
    if eta is not None:
        left = moment_of(eta, "eta") - datetime.now(timezone.utc)
        countdown = left.total_seconds()
    # Below a second there is nothing to hold.
    if countdown is None or int(countdown) < 1:
        return
    key = queue.routing_key if isinstance(queue, Queue) else options["routing_key"]
    options.pop("queue", None)
    options["routing_key"] = calculate_routing_key(int(countdown), key)
    options["exchange"] = _ENTRY


def _is_quorum(queue: Queue) -> bool:
    return (queue.queue_arguments or {}).get("x-queue-type") == "quorum"
