"""The time limits of a task: its message's, else its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from celerant.worker.message import Delivery

__all__ = ["Limits", "TimeLimit"]


#: Seconds: a century.
_LONGEST = 3_200_000_000


class TimeLimit(NamedTuple):
    """Seconds; None is without limit."""

    #: After this time the process that runs the task is killed.
    hard: float | None
    #: After this time the task gets a SoftTimeLimitExceeded.
    soft: float | None


class Limits:
    """Looks up limits; a task's own once for each worker."""

    def __init__(self) -> None:
        self._own: dict[str, TimeLimit] = {}

    def of(self, delivery: Delivery) -> TimeLimit:
        """Return the limits of this run; 0 counts as none, as in Celery."""
        task = delivery.task
        own = self._own.get(task.name)
        if own is None:
            own = TimeLimit(_seconds(task.time_limit), _seconds(task.soft_time_limit))
            self._own[task.name] = own
        hard, soft = delivery.request.timelimit
        if hard is None and soft is None:
            return own
        return TimeLimit(_seconds(hard) or own.hard, _seconds(soft) or own.soft)

    def set(self, task: str, hard: float | None, soft: float | None) -> None:
        """Give a task other limits than its own, from its next run on."""
        self._own[task] = TimeLimit(_seconds(hard), _seconds(soft))


def _seconds(limit: float | None) -> float | None:
    """Return a limit in the range of waits and timers.

    Raises:
        ValueError: It is no number of seconds.
    """
    if not limit:
        return None
    if not isinstance(limit, (int, float)) or not limit > 0:
        msg = f"a time limit must be a positive number of seconds, not {limit!r}"
        raise ValueError(msg)
    # Nobody lives longer.
    return None if limit > _LONGEST else limit
