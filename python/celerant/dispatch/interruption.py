"""Ends of a dispatch from outside: Ctrl-C, time limits, a task that retries."""

from __future__ import annotations

import contextlib
import sys
from contextvars import ContextVar
from threading import Event
from typing import Any

from celerant.errors import SoftTimeLimitExceeded, TaskControl

__all__ = ["ABANDONED", "Abandoned", "carry", "check_abandoned", "is_interruption"]

#: Set once nobody waits for this context's sends any more; None: somebody waits.
ABANDONED: ContextVar[Event | None] = ContextVar("celerant_abandoned", default=None)

#: Other libraries' errors of the same use: raised inside a task, to end it.
_ELSEWHERE = (
    ("billiard.exceptions", "SoftTimeLimitExceeded"),
    ("celery.exceptions", "TaskPredicate"),
)


class Abandoned(BaseException):
    """Nobody waits any more for this send."""


def check_abandoned() -> None:
    """Raise if nobody waits for this send any more.

    Raises:
        Abandoned: Nobody waits.
    """
    event = ABANDONED.get()
    if event is not None and event.is_set():
        raise Abandoned("who sent it waits no longer")


def is_interruption(exc: BaseException) -> bool:
    """Whether an exception ends the running code, and no member or broker failed.

    It passes unchanged: the code that raised it waits for it further up.
    """
    if not isinstance(exc, Exception):
        return True
    classes: list[type] = [SoftTimeLimitExceeded, TaskControl]
    for module, name in _ELSEWHERE:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type):
            classes.append(found)
    return isinstance(exc, tuple(classes))


def carry(exc: BaseException, result: Any, report: Any) -> None:
    """Add to an exception what has left: as `result`, `report` and a note."""
    # A class may take no attributes.
    with contextlib.suppress(AttributeError, TypeError):
        exc.result, exc.report = result, report  # type: ignore[attr-defined] # any class
    # From Python 3.11 on.
    note = getattr(exc, "add_note", None)
    if note is not None and report is not None and is_interruption(exc):
        note(f"sending was interrupted: {report}; see `report` and `result` of this")
