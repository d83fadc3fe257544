"""What ends a dispatch from outside: Ctrl-C, time limits, a task that retries."""

from __future__ import annotations

import contextlib
import sys
from contextvars import ContextVar
from threading import Event
from typing import Any

from celerant.errors import SoftTimeLimitExceeded, TaskControl

__all__ = ["ABANDONED", "Abandoned", "carry", "check_abandoned", "is_interruption"]

#: Set once nobody waits any more for what this context sends; None: somebody does.
ABANDONED: ContextVar[Event | None] = ContextVar("celerant_abandoned", default=None)

#: Where other libraries have the same: raised inside a task, to end it.
_ELSEWHERE = (
    ("billiard.exceptions", "SoftTimeLimitExceeded"),
    ("celery.exceptions", "TaskPredicate"),
)


class Abandoned(BaseException):
    """Nobody waits any more for what is being sent."""


def check_abandoned() -> None:
    """Go no further where nobody waits any more.

    Raises:
        Abandoned: Then.
    """
    event = ABANDONED.get()
    if event is not None and event.is_set():
        raise Abandoned("who sent it waits no longer")


def is_interruption(exc: BaseException) -> bool:
    """Whether an exception ends what runs, and says nothing of a member or a broker.

    It goes on as it is: whoever raised it waits for it further up.
    """
    if not isinstance(exc, Exception):
        return True
    kinds: list[type] = [SoftTimeLimitExceeded, TaskControl]
    for module, name in _ELSEWHERE:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type):
            kinds.append(found)
    return isinstance(exc, tuple(kinds))


def carry(exc: BaseException, result: Any, report: Any) -> None:
    """Let what ends a dispatch say what has left: as `result`, `report` and a note."""
    # A class may take no attributes.
    with contextlib.suppress(AttributeError, TypeError):
        exc.result, exc.report = result, report  # type: ignore[attr-defined] # any class
    # From Python 3.11 on.
    note = getattr(exc, "add_note", None)
    if note is not None and report is not None and is_interruption(exc):
        note(f"sending was interrupted: {report}; see `report` and `result` of this")
