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

    def task_of(app: Any) -> Task[Any, Any]:
        known = name or app.gen_task_name(name_of(function), function.__module__)
        return cast("Task[Any, Any]", app.tasks[known])

    # Its attributes are not copied: one called `retry` would hide the task's.
    made = functools.update_wrapper(
        _SharedTask(lambda: task_of(current_app())), function, updated=()
    )

    def add_to(app: Any) -> None:
        app.task(name=name, bind=bind, **options)(function)
        task_of(app).stand_ins += (made,)

    share(name or f"{function.__module__}.{name_of(function)}", add_to)
    return made


class _SharedTask:
    """Stands for the current app's task, is equal to it, and passes for an instance.

    Receivers that are connected to it hear of the task of every app: it is connected
    when no app may be there yet.
    """

    def __init__(self, find: Callable[[], Task[Any, Any]]) -> None:
        # Not by our own __setattr__, which sets the task's attributes.
        object.__setattr__(self, "_find", find)

    @property  # type: ignore[misc]  # read only is enough
    def __class__(self) -> type:
        return Task

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and self._task() is self:
            # Python and signals ask for such names while there is no app.
            raise AttributeError(name)
        return getattr(self._find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            # The function's name, module and text, which all apps' tasks share.
            object.__setattr__(self, name, value)
        else:
            setattr(self._find(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._find()(*args, **kwargs)

    @property
    def stand_ins(self) -> tuple[Any, ...]:
        """The task that it stands for, and all others that do."""
        task = self._task()
        return () if task is self else (task, *task.stand_ins)

    def _task(self) -> Any:
        """Return the task, or itself while there is none."""
        try:
            return self._find()
        except (KeyError, RuntimeError):
            return self

    def __eq__(self, other: object) -> bool:
        if type(other) is _SharedTask:
            other = other._task()
        # The other one may know better, as `mock.ANY` does.
        return self._task() is other or NotImplemented

    def __hash__(self) -> int:
        # Its own as long as there is no app: tools hash the objects of a module.
        task = self._task()
        return object.__hash__(self) if task is self else hash(task)

    def __reduce__(self) -> Any:
        return self._find().__reduce__()

    def __repr__(self) -> str:
        return f"<@shared_task: {self.__module__}.{self.__name__}>"
