"""The tasks of an app, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from celerant.errors import NotRegistered

if TYPE_CHECKING:
    from celerant.tasks.task import Task

__all__ = ["Registry"]


class Registry(dict[str, "Task[Any, Any]"]):
    """A dict that raises `NotRegistered`, a `KeyError`, for missing names."""

    def __missing__(self, name: str) -> NoReturn:
        msg = f"task {name!r} is not registered here"
        raise NotRegistered(msg)
