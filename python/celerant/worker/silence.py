"""Give a Redis up that falls silent while its connections stay open.

Redis answers a worker's questions within a second. While a worker only listens, it asks
now and then whether Redis is there. If an answer fails to come, kombu drops that one
connection, and the next message is lost: a new connection takes it, but the old one
that would note it is silent too. So all connections are given up here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celerant._core import monotonic

__all__ = ["give_up_on_silence"]

#: How many of kombu's questions stay without an answer before Redis counts as lost.
_MOST_UNANSWERED = 2


def give_up_on_silence(connection: Any) -> None:
    """Let the event loop raise if Redis is silent, as if Redis had hung up.

    Args:
        connection: kombu's, before `register_with_event_loop`. Before kombu 5.7 it does
            not tell since when an answer is due.
    """
    cycle, limit = connection.transport.cycle, connection.stall_timeout
    if hasattr(cycle, "maybe_check_brpop_health"):
        # The function that kombu calls at intervals.
        cycle.maybe_check_brpop_health = partial(_check_answers, cycle, limit)
    cycle.maybe_check_subclient_health = partial(
        _check_listening, cycle, cycle.maybe_check_subclient_health
    )


def _check_answers(cycle: Any, limit: float) -> None:
    now = monotonic()
    for channel in cycle._channels:  # noqa: SLF001 - kombu has no public one
        asked_at = channel._brpop_sent_at  # noqa: SLF001 - as above
        if channel._in_poll and asked_at is not None and now - asked_at > limit:  # noqa: SLF001 - as above
            msg = f"redis has not answered for {limit:g} s (celerant_stall_timeout)"
            raise ConnectionError(msg)


def _check_listening(cycle: Any, ask: Any) -> None:
    for channel in cycle._channels:  # noqa: SLF001 - as above
        client = channel.__dict__.get("subclient")
        unanswered = getattr(client, "health_check_response_counter", 0)
        if unanswered >= _MOST_UNANSWERED:
            msg = "redis has not answered who listens (celerant_stall_timeout)"
            raise ConnectionError(msg)
    ask()
