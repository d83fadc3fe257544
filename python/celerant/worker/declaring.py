"""Declare queues, each on a channel of its own: that is all a refusal costs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["allowed_of", "declare"]

logger = logging.getLogger("celerant.worker")


def declare(connection: Any, queue: Any) -> None:
    """Declare a queue (of kombu); raise what the broker refuses it with."""
    with connection.channel() as channel:
        queue(channel).declare()


def allowed_of(connection: Any, queues: Sequence[Any]) -> list[Any]:
    """Return the queues that the broker has not come to refuse meanwhile.

    Raises:
        Exception: It refuses all of them.
    """
    allowed, refusal = [], None
    for queue in queues:
        try:
            declare(connection, queue)
        except connection.channel_errors as exc:
            refusal = exc
            logger.error(  # noqa: TRY400 - where it was raised tells nothing
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
