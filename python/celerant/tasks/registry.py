"""The tasks of an app, by name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from celerant.common.printable import frames_of_ours
from celerant.errors import DuplicateTaskNameWarning, NotRegistered
from celerant.tasks.making import adopt

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.tasks.task import Task

__all__ = ["Registry"]


class Registry(dict[str, "Task[Any, Any]"]):
    """A dict that raises `NotRegistered`, a `KeyError`, for missing names.

    Source: ``celery.app.registry.TaskRegistry`` of celery 5.7.0, and the warnings of
    ``Celery._task_from_fun`` and ``Celery.register_task``.
    """

    NotRegistered = NotRegistered

    def __init__(self, app: App, tasks: dict[str, Task[Any, Any]]) -> None:
        super().__init__(tasks)
        self._app = app
        self._warned: set[str] = set()

    def __missing__(self, name: str) -> NoReturn:
        msg = f"task {name!r} is not registered here"
        raise NotRegistered(msg)

    def register(self, task: Any) -> None:
        """Register an instance of a class derived from `Task`, or the class.

        As `Celerant.register_task`, but without a warning if the name is taken.
        Raises:
            SettingError: It is no task, or has an option that no task can have.
        """
        made = adopt(self._app, task)
        self[made.name] = made

    def unregister(self, name: Any) -> None:
        """Forget a task, given by its name or itself.

        Raises:
            NotRegistered: There is no such task.
        """
        name = getattr(name, "name", name)
        if self.pop(name, None) is None:
            self.__missing__(name)

    def first_of(self, name: str, function: Any) -> Task[Any, Any] | None:
        """Return the task that has a name already, and warn if it is another function.

        A module that is imported twice may bring the same function again. A function of
        a notebook or a shell that is defined once more takes the place of the former.
        """
        known = self.get(name)
        if known is not None and _is_defined_anew(known, function):
            return None
        if known is not None:
            theirs = getattr(known, "__wrapped__", None)
            if theirs is not getattr(function, "__func__", function):
                self._warn(name, known, function, "the first one stays")
        return known

    def replace(self, task: Task[Any, Any]) -> None:
        """Put a task in, and warn if another one had its name."""
        known = self.get(task.name)
        self[task.name] = task
        if known is not None and known is not task:
            self._warn(task.name, known, task, "the new one replaces it")

    def _warn(self, name: str, known: Any, new: Any, outcome: str) -> None:
        # Once for each name: it is one mistake, however often its module is imported.
        if name in self._warned:
            return
        self._warned.add(name)
        msg = (
            f"two tasks have the name {name!r}, {_place(known)} and {_place(new)}: "
            f"{outcome}; give each task a name= of its own"
        )
        warnings.warn(DuplicateTaskNameWarning(msg), stacklevel=frames_of_ours())


def _is_defined_anew(known: Any, function: Any) -> bool:
    """Whether a cell with the function was run once more."""
    place = _place(function)
    is_of_shell = place.startswith("__main__.") and "<locals>" not in place
    return is_of_shell and place == _place(known)


def _place(task: Any) -> str:
    """Return the full name of a function, or of a task's function or class."""
    named = getattr(task, "__wrapped__", None) or task
    if not isinstance(getattr(named, "__qualname__", None), str):
        named = type(named)
    return f"{named.__module__}.{named.__qualname__}"
