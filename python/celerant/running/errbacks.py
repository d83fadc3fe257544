"""Tell the errbacks of a task that it failed.

Source: ``Backend._call_task_errbacks`` of celery 5.7.0.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from typing import TYPE_CHECKING, Any

from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.canvas.signature import Signature
from celerant.common.foreign import is_interrupt

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["call_errbacks"]

logger = logging.getLogger("celerant.worker")

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def call_errbacks(
    app: Any, request: Request, exc: BaseException | None, traceback: str | None
) -> None:
    """Call errbacks that take (request, exc, traceback) here, and send the others.

    An errback is called at once, in this thread, if its task is registered here and is
    a decorated function that is not bound and takes more than one argument. All others
    get the failed task's id, as one group. Raises nothing: an error of an errback is
    logged.

    Args:
        app: Has the tasks, and sends.
        request: The failed task's.
        exc: Its exception.
        traceback: As text, the way results store it.
    """
    later = []
    for plain in request.errbacks or ():
        try:
            errback = maybe_signature(plain, app)
            # Celery up to 5.6 leaves this among the options of errbacks.
            errback.options.pop("immutable", None)
            if _takes_failure(app, errback):
                errback(request, _real(exc), traceback)
            else:
                later.append(errback)
        except BaseException:
            logger.exception(
                "errback %s of task %s[%s] raised",
                plain.get("task") if isinstance(plain, dict) else plain,
                request.task,
                request.id,
            )
    if not later:
        return
    root_id = request.root_id or request.id
    about: dict[str, Any] = {"parent_id": request.id, "root_id": root_id}
    try:
        members = group(later, app=app)
        if request.is_eager:
            members.apply((request.id,), **about)
        else:
            members.apply_async((request.id,), **about)
    except BaseException as raised:
        if is_interrupt(raised):
            raise
        logger.exception(
            "errbacks of task %s[%s] are not sent: %s",
            request.task,
            request.id,
            ", ".join(str(errback.get("task")) for errback in later),
        )


def _takes_failure(app: Any, errback: Any) -> bool:
    if not isinstance(errback, Signature):
        return False
    task = app.tasks.get(errback.task)
    if task is None or task.bind or not task.is_decorated:
        return False
    # With `autoretry_for`, `run` takes anything.
    call = run = getattr(task, "_orig_run", task.run)
    if not errback.immutable and (errback.args or errback.kwargs):
        # Counts the links that the failure still has to call.
        call = functools.partial(call, *errback.args, **errback.kwargs)
    try:
        taken = inspect.signature(call, follow_wrapped=False)
    except (TypeError, ValueError):
        taken = inspect.signature(run, follow_wrapped=False)
    parameters = taken.parameters.values()
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return True
    return sum(p.kind in _POSITIONAL for p in parameters) > 1


def _real(exc: BaseException | None) -> BaseException | None:
    """Return an exception of the class that one from a child process is named after."""
    cls = type(exc)
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if exc is None or found is cls or not isinstance(found, type):
        return exc
    if not issubclass(found, BaseException):
        return exc
    try:
        return found(*exc.args)
    except Exception:  # noqa: BLE001 - a constructor may raise anything
        return exc
