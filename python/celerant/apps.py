"""The apps of this process, found by name."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerant.errors import CelerantError
from celerant.results.saving import unpickled

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.tasks.task import Task

__all__ = ["load_app", "register", "result_of", "share", "task_by_name"]

_apps: weakref.WeakSet[Celerant] = weakref.WeakSet()
#: What adds shared tasks to an app, by the tasks' names.
_shared: dict[str, Callable[[Celerant], None]] = {}


def register(app: Celerant) -> None:
    """Keep an app findable while somebody holds it, and give it the shared tasks."""
    _apps.add(app)
    for add_to in list(_shared.values()):
        add_to(app)


def share(name: str, add_to: Callable[[Celerant], None]) -> None:
    """Give all apps a task, those to come too; a second one of a name replaces it."""
    _shared[name] = add_to
    for app in list(_apps):
        add_to(app)


def load_app(app: str, module: str) -> None:
    """Make an app here by importing `module`, and import its tasks."""
    # A spawned process has run its parent's script already.
    if module not in {"__main__", "__mp_main__"}:
        importlib.import_module(module)
    for made in _named(app):
        made.import_tasks()


def task_by_name(app: str, name: str) -> Task[Any, Any]:
    """Return a task of an app of this process: how tasks are unpickled.

    Raises:
        CelerantError: There is no such app or task here.
    """
    for candidate in _named(app):
        if name in candidate.tasks:
            return candidate.tasks[name]
    with suppress(ImportError):
        importlib.import_module(name.rpartition(".")[0])
    for candidate in _named(app):
        if name in candidate.tasks:
            return candidate.tasks[name]
    msg = f"no task {name!r} of app {app!r} here: import its module first"
    raise CelerantError(msg)


def result_of(app: str, module: str, state: dict[str, Any]) -> Any:
    """Return a result of an app of this process: how results are unpickled.

    Args:
        app: The app's name.
        module: Where it was made; imported where the app is not here.
        state: What the pickle holds.

    Raises:
        CelerantError: There is no such app here.
    """
    found = next(_named(app), None)
    if found is None and module not in {"__main__", "__mp_main__"}:
        with suppress(ImportError):
            importlib.import_module(module)
        found = next(_named(app), None)
    if found is None:
        msg = (
            f"no app {app!r} here, to which a pickled result belongs: import the "
            "module that makes it first"
        )
        raise CelerantError(msg)
    return unpickled(state, found.backend)


def _named(app: str) -> Iterator[Celerant]:
    return (candidate for candidate in list(_apps) if candidate.name == app)
