"""The exceptions by which a task steers its worker: Retry, Ignore and Reject.

Celery's own classes count as ours, for tasks that import them from there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from celerant.common.foreign import is_a, traceback_of, with_traceback
from celerant.common.stock_errors import named_exception
from celerant.errors import Ignore, Reject, Retry, TaskControl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IGNORED", "REJECTED", "RETRY", "pack", "read", "state_of", "unpack"]

RETRY = Retry.state
IGNORED = Ignore.state
REJECTED = Reject.state


def read(exc: BaseException) -> TaskControl | None:
    """Return an exception as control flow, None if it is an error."""
    if is_a(exc, TaskControl):
        return exc
    theirs: Any = sys.modules.get("celery.exceptions")
    if theirs is None or not is_a(exc, theirs.TaskPredicate):
        return None
    try:
        ours = _ours(exc, theirs)
    except BaseException:  # noqa: BLE001 - their subclass's own code: then it is an error
        return None
    with_traceback(ours, traceback_of(exc))
    return ours


def _ours(exc: Any, theirs: Any) -> TaskControl:
    if is_a(exc, theirs.Retry):
        return Retry(exc.message, exc.exc or exc.excs, exc.when)
    if is_a(exc, theirs.Reject):
        return Reject(exc.reason, exc.requeue)
    return Ignore(*exc.args)


def state_of(exc: TaskControl) -> str:
    """Return the state that it puts a task into, by its class alone."""
    if is_a(exc, Retry):
        return RETRY
    return REJECTED if is_a(exc, Reject) else IGNORED


def pack(
    exc: TaskControl,
    portable: Callable[[Any], Any],
    named: Callable[[BaseException], tuple[str, str, tuple[Any, ...]]],
) -> tuple[Any, ...]:
    """Return it as data that any pipe carries.

    `portable` makes a value plain, and `named` makes an exception plain.
    """
    if isinstance(exc, Retry):
        cause = None if exc.exc is None else named(exc.exc)
        return RETRY, exc.message, cause, exc.excs, portable(exc.when)
    if isinstance(exc, Reject):
        return REJECTED, portable(exc.reason), bool(exc.requeue)
    return IGNORED, *(portable(arg) for arg in exc.args)


def unpack(packed: tuple[Any, ...]) -> TaskControl:
    """Return the control flow that `pack` packed."""
    state, *rest = packed
    if state == RETRY:
        message, cause, shown, when = rest
        exc = None
        if cause is not None:
            name, module, args = cause
            exc = named_exception(name, module, *args)
        made = Retry(message, exc, when)
        made.excs = shown
        return made
    return Reject(*rest) if state == REJECTED else Ignore(*rest)
