"""The apps of this process: found by name, and the one made last."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.context.host import App

__all__ = [
    "all_apps",
    "apps_named",
    "current_app",
    "load_app",
    "register",
    "set_current_app",
    "share",
    "task_by_name",
]

_apps: weakref.WeakSet[App] = weakref.WeakSet()
#: Functions that add shared tasks to an app, by the tasks' names.
_shared: dict[str, Callable[[App], None]] = {}


def register(app: App) -> None:
    """Keep an app findable while it is referenced, and give it the shared tasks."""
    _apps.add(app)
    for add_to in list(_shared.values()):
        add_to(app)


def share(name: str, add_to: Callable[[App], None]) -> None:
    """Give all apps a task, later ones too; later ones get the first of a name."""
    _shared.setdefault(name, add_to)
    for app in list(_apps):
        add_to(app)


def load_app(app: str, module: str) -> None:
    """Make an app here by importing `module`, and import its tasks."""
    # A spawned process has run its parent's script already.
    if module not in {"__main__", "__mp_main__"}:
        importlib.import_module(module)
    for made in apps_named(app):
        made.import_tasks()


def task_by_name(app: str, name: str) -> Any:
    """Return a task of an app of this process; pickles of tasks call it.

    Raises:
        CelerantError: There is no such app or task here.
    """
    for candidate in apps_named(app):
        if name in candidate.tasks:
            return candidate.tasks[name]
    with suppress(ModuleNotFoundError):
        importlib.import_module(name.rpartition(".")[0])
    for candidate in apps_named(app):
        if name in candidate.tasks:
            return candidate.tasks[name]
    msg = f"no task {name!r} of app {app!r} here: import its module first"
    raise CelerantError(msg)


def apps_named(name: str) -> Iterator[App]:
    """Yield the apps of this name that are still referenced; first the current one."""
    found, first = [app for app in _apps if app.name == name], _Current.app()
    return iter(sorted(found, key=lambda app: app is not first))


class _Current:
    #: Weak: an app without references is done, with its connections and threads.
    app: Callable[[], App | None] = staticmethod(lambda: None)


def all_apps() -> list[App]:
    """Return the apps of this process that are still referenced."""
    return list(_apps)


def set_current_app(app: App | None) -> None:
    """Make `app` the one that serves canvases without an app of their own."""
    _Current.app = staticmethod((lambda: None) if app is None else weakref.ref(app))


def current_app() -> App:
    """Return the app made last.

    Raises:
        RuntimeError: There is no app.
    """
    app = _Current.app()
    if app is None:
        msg = "no app: make one with Celerant('name') before sending, and keep it"
        raise RuntimeError(msg)
    return app
