"""A Redis that says nothing any more, its connections open.

A worker's questions to Redis are answered within a second, or it listens and has to ask
whether anybody is there. kombu drops the one connection that gets no answer, and the
next message is lost: taken by a new connection, it cannot be noted by an old one that
is silent too. So all of them are given up here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celerant._core import monotonic

__all__ = ["give_up_on_silence"]

#: Questions of kombu's without an answer after which nobody is there.
_MOST_UNANSWERED = 2


def give_up_on_silence(connection: Any) -> None:
    """Have the event loop raise where Redis is silent, as where it hangs up.

    Args:
        connection: Of kombu, whose `register_with_event_loop` is to come. Before kombu
            5.7 nothing tells how long an answer is due.
    """
    cycle, limit = connection.transport.cycle, connection.stall_timeout
    if hasattr(cycle, "maybe_check_brpop_health"):
        # What kombu calls at intervals.
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
