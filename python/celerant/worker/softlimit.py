"""Raise SoftTimeLimitExceeded in a task that runs in a child's main thread."""

from __future__ import annotations

import signal
import sys
from typing import Any

from celerant.errors import SoftTimeLimitExceeded

__all__ = ["Limited", "is_supported", "listen"]

#: Whether a task runs that the signals are meant for.
_armed = False


def is_supported() -> bool:
    """Whether this system has the timer and the signals."""
    return hasattr(signal, "setitimer") and hasattr(signal, "SIGUSR1")


def listen() -> None:
    """Handle the timer's signal, and SIGUSR1, by which Celery's users ask for it."""
    if is_supported():
        signal.signal(signal.SIGALRM, _exceed)
        signal.signal(signal.SIGUSR1, _exceed)


def _exceed(_number: int, _frame: Any) -> None:
    # Late signals find the next task, or none: only the one they meant may fail.
    if _armed:
        raise _class()


def _class() -> type[Exception]:
    """Return the error under the name that stock clients know.

    Where the task has imported Celery it is Celery's error as well, so that either
    ``except`` clause catches it.
    """
    theirs = getattr(
        sys.modules.get("billiard.exceptions"), "SoftTimeLimitExceeded", None
    )
    bases = (SoftTimeLimitExceeded, *([theirs] if isinstance(theirs, type) else []))
    names = {"__module__": "billiard.exceptions", "__init__": Exception.__init__}
    return type("SoftTimeLimitExceeded", bases, names)


class Limited:
    """A task that may run for `seconds`; None lets it run on."""

    __slots__ = ("_seconds", "_task")

    def __init__(self, task: Any, seconds: float | None) -> None:
        self._task = task
        self._seconds = seconds

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; a signal that comes after it is of no meaning."""
        global _armed  # noqa: PLW0603 - a signal handler has nothing else to look at
        if self._seconds is not None and is_supported():
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
        _armed = True
        try:
            return self._task(*args, **kwargs)
        finally:
            _armed = False
            if self._seconds is not None and is_supported():
                signal.setitimer(signal.ITIMER_REAL, 0)
