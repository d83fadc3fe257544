"""Proxies of the app made last and of the task that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from celerant.context.apps import current_app as find_app

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.tasks.task import Task

__all__ = ["current_app", "current_task"]


class _Proxy:
    """Stands for the object that `find` returns at the time of each use."""

    __slots__ = ("_find", "_name")

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        # Not by our own __setattr__, which sets attributes of the real object.
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_find", find)

    def _get_current_object(self) -> Any:
        return self._find()

    @property  # type: ignore[misc]  # read only is enough
    def __class__(self) -> type:
        try:
            return type(self._find())
        except RuntimeError:
            # Its class can be read even if there is no app.
            return _Proxy

    def __getattr__(self, name: str) -> Any:
        try:
            found = self._find()
        except RuntimeError:
            if name.startswith("_"):
                # As above: code that inspects objects reads such names.
                raise AttributeError(name) from None
            raise
        return getattr(found, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._find(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    def __bool__(self) -> bool:
        return self._find() is not None

    def __eq__(self, other: object) -> bool:
        if type(other) is _Proxy:
            other = other._find()
        return bool(self._find() == other)

    def __hash__(self) -> int:
        return hash(self._find())

    def __repr__(self) -> str:
        try:
            return repr(self._find())
        except RuntimeError as exc:
            return f"<{self._name}: {exc}>"


def _find_task() -> Any:
    try:
        app: Any = find_app()
    except RuntimeError:
        return None
    return app.current_task


#: The app made last. Using it without any is a RuntimeError.
current_app = cast("Celerant", _Proxy("current_app", find_app))
#: The task whose function runs here; false, and equal to None, outside of tasks.
current_task = cast("Task[Any, Any]", _Proxy("current_task", _find_task))
