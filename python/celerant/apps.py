"""The apps of this process: found by name, and told of a fork."""

from __future__ import annotations

import importlib
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.task import Task

__all__ = ["register", "task_by_name"]

_apps: weakref.WeakSet[Celerant] = weakref.WeakSet()


def register(app: Celerant) -> None:
    """Keep an app findable for as long as somebody holds it."""
    _apps.add(app)


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


def _named(app: str) -> Iterator[Celerant]:
    return (candidate for candidate in list(_apps) if candidate.name == app)


def _after_fork_in_child() -> None:
    for app in list(_apps):
        app.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
