"""The time limits of a run: those of its message, else those of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from celerant.worker.message import Delivery

__all__ = ["TimeLimit", "TimeLimits"]


#: Seconds in a century; longer limits count as none.
_LONGEST = 3_200_000_000


class TimeLimit(NamedTuple):
    """The limits of one run in seconds; None is without limit."""

    #: After this time the process that runs the task is killed.
    hard: float | None
    #: After this time the task gets a SoftTimeLimitExceeded.
    soft: float | None


class TimeLimits:
    """Looks up the time limits of runs, and keeps those of tasks."""

    def __init__(self) -> None:
        self._own: dict[str, TimeLimit] = {}

    def of(self, delivery: Delivery) -> TimeLimit:
        """Return the limits of a run; 0 counts as none, as in Celery."""
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
        """Change a task's limits from its next run on."""
        self._own[task] = TimeLimit(_seconds(hard), _seconds(soft))


def _seconds(limit: float | None) -> float | None:
    """Return a limit in seconds that waits and timers can take.

    Raises:
        ValueError: The limit is no positive number.
    """
    if not limit:
        return None
    if not isinstance(limit, (int, float)) or not limit > 0:
        msg = f"a time limit must be a positive number of seconds, not {limit!r}"
        raise ValueError(msg)
    return None if limit > _LONGEST else limit
