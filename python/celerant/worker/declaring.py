"""Declare queues, each on a channel of its own, which a refusal closes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["allowed_of", "declare"]

logger = logging.getLogger("celerant.worker")


def declare(connection: Any, queue: Any) -> None:
    """Declare a queue (kombu's); the broker's refusal is raised."""
    with connection.channel() as channel:
        queue(channel).declare()


def allowed_of(connection: Any, queues: Sequence[Any]) -> list[Any]:
    """Return the queues that the broker still lets us declare.

    Raises:
        Exception: The broker refuses all of them.
    """
    allowed, refusal = [], None
    for queue in queues:
        try:
            declare(connection, queue)
        except connection.channel_errors as exc:
            refusal = exc
            logger.error(  # noqa: TRY400 - a traceback tells nothing more
                "the broker refuses queue %r (%s); the worker goes on without it "
                "until it connects again",
                queue.name,
                exc,
            )
        else:
            allowed.append(queue)
    if refusal is not None and not allowed:
        raise refusal
    return allowed
