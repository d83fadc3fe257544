"""A Redis that falls silent while its connections are open.

Redis answers a worker's questions within a second; while the worker only listens, it
has to ask whether Redis is there. kombu drops the one connection without an answer, and
the next message is lost: a new connection takes it, and an old one that is silent too
cannot note it. So all of them are given up here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celerant._core import monotonic

__all__ = ["give_up_on_silence"]

#: How many questions of kombu's go without an answer before Redis counts as gone.
_MOST_UNANSWERED = 2


def give_up_on_silence(connection: Any) -> None:
    """Let the event loop raise if Redis is silent, as if it had hung up.

    Args:
        connection: kombu's, before `register_with_event_loop`. Before kombu 5.7 nothing
            tells how long an answer is due.
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
