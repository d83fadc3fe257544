"""Tasks whose class, or whose object, has an `apply_async` of its own.

Canvases call that method too, as in Celery. For members of a group it must not send
anything itself: what it hands on to `Task.apply_async` is noted, and leaves with the
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

__all__ = ["NOTING", "Noted", "are_any", "note_one"]

#: Notes the call of `Task.apply_async` that comes next, in place of a send.
NOTING: ContextVar[Noted | None] = ContextVar("celerant_noting", default=None)

_are_any = False


class Noted:
    """The call that a task's own `apply_async` makes of `Task.apply_async`.

    Args:
        task: The task.
        result: What that call returns.
    """

    def __init__(self, task: Any, result: Any) -> None:
        self.task = task
        self._result = result
        #: Arguments and options; None until it is made.
        self.call: tuple[Any, Any, dict[str, Any]] | None = None

    def take(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """Note the call and return its result."""
        self.call = args, kwargs, {**options}
        return self._result


def note_one() -> None:
    """Remember that there is a task with an `apply_async` of its own."""
    global _are_any  # noqa: PLW0603 - of the process, as classes are
    _are_any = True


def are_any() -> bool:
    """Whether there may be such a task in this process."""
    return _are_any
