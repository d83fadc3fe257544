"""The tasks that every app has: Celery's, run here by code of our own.

Source: ``celery.app.builtins`` of celery 5.7.0: names, arguments and values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.canvas.data import maybe_signature
from celerant.canvas.mapping import chunks as make_chunks
from celerant.config import suggestion
from celerant.tasks.making import make_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.host import App
    from celerant.tasks.task import Task

__all__ = ["builtin_tasks", "is_builtin"]


def builtin_tasks(app: App) -> dict[str, Task[Any, Any]]:
    """Return the tasks that every app has without defining them, by name."""
    return {
        name: make_task(app, function, name=name, bind=True)
        for name, function in _FUNCTIONS.items()
    }


def is_builtin(task: Task[Any, Any]) -> bool:
    """Whether it is one of these, and not a user's replacement."""
    function = _FUNCTIONS.get(task.name)
    return function is not None and function is getattr(task, "__wrapped__", None)


def accumulate(_task: Task[Any, Any], *args: Any, **kwargs: Any) -> Any:
    """Return all arguments, or one: the end of a group that replaced a task."""
    index = kwargs.get("index")
    return args if index is None else args[index]


def backend_cleanup(_task: Task[Any, Any]) -> None:
    """Do nothing: results expire by themselves in each of our stores."""


def over_items(bound: Task[Any, Any], task: Any, it: Any) -> list[Any]:
    """Call a task with every item."""
    called = _called(bound, task)
    return [called(item) for item in it]


def over_arguments(bound: Task[Any, Any], task: Any, it: Any) -> list[Any]:
    """Call a task with every item's arguments."""
    called = _called(bound, task)
    return [called(*item) for item in it]


def chunks(bound: Task[Any, Any], task: Any, it: Any, n: int) -> Any:
    """Send a task's items in parts."""
    sent = make_chunks(maybe_signature(task, bound.app), it, n, app=bound.app)
    return sent.apply_async()


def _called(bound: Task[Any, Any], task: Any) -> Any:
    name = maybe_signature(task, bound.app).task
    try:
        return bound.app.tasks[name]
    except KeyError:
        near = suggestion(name, frozenset(bound.app.tasks))
        msg = (
            f"task {name!r} is not registered in this worker{near}: {bound.name} "
            "needs it"
        )
        raise LookupError(msg) from None


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "celery.accumulate": accumulate,
    "celery.backend_cleanup": backend_cleanup,
    "celery.chunks": chunks,
    "celery.map": over_items,
    "celery.starmap": over_arguments,
}
