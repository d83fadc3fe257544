"""Raise SoftTimeLimitExceeded in a task that runs in a child's main thread."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from celerant.errors import SoftTimeLimitExceeded

__all__ = [
    "Limited",
    "as_celery_knows_it",
    "is_supported",
    "let_soft_limits_be_caught",
    "listen",
]

#: Whether the task runs that the signals are meant for.
_armed = False


def is_supported() -> bool:
    """Whether this system has the timer and the signals."""
    return hasattr(signal, "setitimer") and hasattr(signal, "SIGUSR1")


def listen() -> None:
    """Handle the timer's signal, and SIGUSR1, with which Celery's users ask for it."""
    if is_supported():
        signal.signal(signal.SIGALRM, _exceed)
        signal.signal(signal.SIGUSR1, _exceed)


def _exceed(_number: int, _frame: Any) -> None:
    # Late signals meet the next task, or none; only the task they were meant for may
    # fail.
    if _armed:
        raise _class()


def _class() -> type[Exception]:
    """Return the error under the name that stock clients know.

    If the task has imported Celery it is Celery's error as well, so that either
    ``except`` clause catches it.
    """
    theirs = getattr(
        sys.modules.get("billiard.exceptions"), "SoftTimeLimitExceeded", None
    )
    bases = (SoftTimeLimitExceeded, *([theirs] if isinstance(theirs, type) else []))
    names = {"__module__": "billiard.exceptions", "__init__": Exception.__init__}
    return type("SoftTimeLimitExceeded", bases, names)


def let_soft_limits_be_caught() -> None:
    """Have a child of Celery's pool raise its own error as one of ours, too.

    A task may then catch either, wherever it runs.
    """
    if not hasattr(signal, "SIGUSR1"):
        return
    theirs = signal.getsignal(signal.SIGUSR1)
    if getattr(theirs, "__module__", None) != "billiard.pool":
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _exceed_in_celery)


def _exceed_in_celery(_number: int, _frame: Any) -> None:
    raise _class()


def as_celery_knows_it(exc: SoftTimeLimitExceeded) -> BaseException:
    """Return Celery's own error for one of ours: the pool pickles it by its name."""
    theirs = getattr(
        sys.modules.get("billiard.exceptions"), "SoftTimeLimitExceeded", None
    )
    if theirs is None:
        return exc
    made: BaseException = theirs(*exc.args)
    return made.with_traceback(exc.__traceback__)


class Limited:
    """A task that may run for `seconds`; None lets it run on."""

    __slots__ = ("_seconds", "_task")

    def __init__(self, task: Any, seconds: float | None) -> None:
        self._task = task
        self._seconds = seconds

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; a signal that comes after it has no effect."""
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
