"""Run a Celerant task's function inside Celery, under Celery's request."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant.canvas.request import Request, current_request
from celerant.errors import MaxRetriesExceeded, Reject, Retry, TaskControl
from celerant.results.waiting import may_join

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
    children of Celery's stored result, and `get` is refused where Celery's is.
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
        joins = may_join.set(_celery_allows)
        try:
            value = function(*args, **kwargs)
            _send_successors(request)
        except (TaskControl, MaxRetriesExceeded) as exc:
            raise _theirs(exc, task, request) from exc
        else:
            return value
        finally:
            may_join.reset(joins)
            current_request.reset(token)
            for child in request.children:
                task.add_trail(_Child(child))

    # Celery reads the arguments it checks at send without following wrappers.
    with contextlib.suppress(TypeError, ValueError):
        run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return run


def _celery_allows() -> bool:
    """Whether Celery's own results could be waited for: in its pool, at this time."""
    from celery._state import task_join_will_block  # noqa: PLC0415 - an extra

    return not task_join_will_block()


def _read(name: str, context: Any) -> Request:
    known = {field: getattr(context, field, None) for field in _SAME}
    given = {field: value for field, value in known.items() if value is not None}
    limits = tuple(getattr(context, "timelimit", None) or (None, None))
    # Celery calls the function itself: what calls ours in there does so directly.
    return Request(context.id, name, timelimit=limits, is_entered=True, **given)


def _send_successors(request: Request) -> None:
    """Send the retries that were asked of our task, not of Celery's."""
    successors, request.successors = request.successors, []
    try:
        for successor in successors:
            successor.apply_async()
    except Exception as exc:
        raise Reject(exc, requeue=False) from exc


def _theirs(exc: Exception, task: Any, request: Request) -> Any:
    """Return Celery's own form of what a task raised to steer its worker."""
    theirs: Any = importlib.import_module("celery.exceptions")
    try:
        _send_successors(request)
    except Reject as unsent:
        exc = unsent
    if isinstance(exc, Retry):
        sig = exc.sig and task.signature_from_request(
            task.request, exc.sig.args, exc.sig.kwargs, retries=request.retries + 1
        )
        return theirs.Retry(
            exc.message, exc.exc or exc.excs, exc.when, exc.is_eager, sig
        )
    if isinstance(exc, Reject):
        return theirs.Reject(exc.reason, exc.requeue)
    if isinstance(exc, MaxRetriesExceeded):
        return theirs.MaxRetriesExceededError(*exc.args)
    return theirs.Ignore(*exc.args)


class _Child:
    """A result of Celerant's as Celery's backends store it."""

    __slots__ = ("_form",)

    def __init__(self, form: Any) -> None:
        self._form = form

    def as_tuple(self) -> Any:
        return self._form
