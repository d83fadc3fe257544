"""Shared tasks: every app has them, and the current app sends them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

from celerant.context.apps import current_app, share
from celerant.tasks.making import name_of
from celerant.tasks.task import Task

__all__ = ["shared_task"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    function: None = None,
    /,
    *,
    name: str | None = ...,
    bind: Literal[False] = ...,
    **options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
@overload
def shared_task(
    function: None = None,
    /,
    *,
    name: str | None = ...,
    bind: Literal[True],
    **options: Any,
) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
def shared_task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    bind: bool = False,
    **options: Any,
) -> Any:
    """Make a function a task of every app, made before or after; use as ``app.task``.

    For code that does not know its app, such as a reusable Django app. The returned
    object stands for the task of the app made last, and needs an app only when it is
    used.

    Args:
        function: The function, if used without arguments.
        name: By default the function's module and name.
        bind: Pass the task itself as first argument.
        options: Celery's names, as ``app.task`` has them.
    Raises:
        TypeError: The function is a shared task already.
        SettingError: An option that does not exist; at once if there is an app.
    Source: ``celery.app.shared_task`` of celery 5.7.0.
    """
    if function is None:
        return functools.partial(shared_task, name=name, bind=bind, **options)
    if type(function) is _SharedTask:
        msg = f"{function!r} is a shared task already: remove the second @shared_task"
        raise TypeError(msg)

    def add_to(app: Any) -> None:
        app.task(name=name, bind=bind, **options)(function)

    def find() -> Task[Any, Any]:
        app: Any = current_app()
        known = name or app.gen_task_name(name_of(function), function.__module__)
        return cast("Task[Any, Any]", app.tasks[known])

    share(name or f"{function.__module__}.{name_of(function)}", add_to)
    return functools.update_wrapper(_SharedTask(find), function)


class _SharedTask:
    """Stands for the current app's task; `isinstance` takes it for one, too."""

    def __init__(self, find: Callable[[], Task[Any, Any]]) -> None:
        # Not by our own __setattr__, which sets the task's attributes.
        object.__setattr__(self, "_find", find)

    @property  # type: ignore[misc]  # read only is enough
    def __class__(self) -> type:
        return Task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            # The function's name, module and text, which all apps' tasks share.
            object.__setattr__(self, name, value)
        else:
            setattr(self._find(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    def __reduce__(self) -> Any:
        return self._find().__reduce__()

    def __repr__(self) -> str:
        return f"<@shared_task: {self.__module__}.{self.__name__}>"
