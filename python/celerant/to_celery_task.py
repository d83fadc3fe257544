"""Run a Celerant task's function inside Celery, under Celery's request."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant.canvas.request import Request, current_request

if TYPE_CHECKING:
    import celery

__all__ = ["under_celery"]

#: Fields that Celery's request has under the same names, with None for "not given".
_SAME = (
    "args",
    "kwargs",
    "root_id",
    "parent_id",
    "group",
    "group_index",
    "chord",
    "chain",
    "callbacks",
    "errbacks",
    "retries",
    "eta",
    "expires",
    "ignore_result",
    "shadow",
    "origin",
    "reply_to",
    "correlation_id",
    "hostname",
    "delivery_info",
    "headers",
    "stamped_headers",
    "stamps",
    "replaced_task_nesting",
    "is_eager",
)


def under_celery(
    made: celery.Celery, name: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    """Return `function` as the task `name` of `made`, with Celery's request as ours.

    What Celerant sends inside it gets Celery's root and parent, counts among the
    children of Celery's stored result, and `get` is refused there as in any task.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        task = made.tasks[name]
        context = task.request
        # Called as a function, perhaps by another task: that one is still the parent.
        if context.called_directly or not context.id:
            return function(*args, **kwargs)
        request = _read(name, context)
        token = current_request.set(request)
        try:
            return function(*args, **kwargs)
        finally:
            current_request.reset(token)
            for child in request.children:
                task.add_trail(_Child(child))

    # Celery reads the arguments it checks at send without following wrappers.
    with contextlib.suppress(TypeError, ValueError):
        run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return run


def _read(name: str, context: Any) -> Request:
    known = {field: getattr(context, field, None) for field in _SAME}
    given = {field: value for field, value in known.items() if value is not None}
    limits = tuple(getattr(context, "timelimit", None) or (None, None))
    return Request(context.id, name, timelimit=limits, **given)


class _Child:
    """A result of Celerant's as Celery's backends store it."""

    __slots__ = ("_form",)

    def __init__(self, form: Any) -> None:
        self._form = form

    def as_tuple(self) -> Any:
        return self._form
