"""Deadlines of waits, and refusals to wait."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

from celerant._core import monotonic
from celerant.common.printable import line
from celerant.common.urls import scheme
from celerant.context.request import current_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celerant.results.tracking.member_backend import MemberBackend

__all__ = [
    "allow_join_result",
    "because",
    "deadline_after",
    "may_join",
    "refuse_inside_callback",
    "refuse_inside_task",
]

#: Returns whether the running task may wait for results now.
may_join: ContextVar[Callable[[], bool]] = ContextVar(
    "celerant_may_join", default=lambda: False
)


@contextlib.contextmanager
def allow_join_result() -> Iterator[None]:
    """Let the running task wait for results inside a ``with`` block.

    Use it only if the subtasks certainly find a free slot, for example on a queue and
    worker of their own. Otherwise all workers may wait for each other.
    """
    token = may_join.set(lambda: True)
    try:
        yield
    finally:
        may_join.reset(token)


def deadline_after(timeout: float | None) -> float | None:
    """Return the `monotonic` time `timeout` seconds from now; None for None."""
    return None if timeout is None else monotonic() + timeout


def because(backend: MemberBackend, what: str, *, has_none: bool = False) -> str:
    """Return the text of an error about results that did not come in time.

    Args:
        backend: The store of the results.
        what: The first words, which say what is missing.
        has_none: Whether of many results not one has come.
    """
    trouble = backend.trouble
    if trouble is not None:
        seconds = monotonic() - trouble.since
        last = "" if trouble.error is None else f" (last: {line(trouble.error)})"
        return (
            f"{what}, as far as is known here: the result store {backend.as_uri()} has "
            f"not answered for {seconds:.1f} s{last}; the tasks may have run"
        )
    reason = backend.obstacle()
    if reason:
        return f"{what}: {reason}"
    # At a store in memory no other process can look.
    if has_none and not scheme(backend.as_uri()).endswith("memory"):
        return f"{what}; `celerant doctor -A MODULE:APP` looks for the cause"
    return what


def refuse_inside_callback(backend: MemberBackend) -> None:
    """Refuse to wait in the thread that takes in the results of `backend`.

    Raises:
        RuntimeError: A `then` callback runs in this thread, which would wait for
            itself.
    """
    if backend.is_calling_back:
        msg = (
            "this waits for a result inside a `then` callback, which runs on the "
            "thread that takes in results and would wait for itself; give that result "
            "a `then` of its own, or wait for it in another thread"
        )
        raise RuntimeError(msg)


def refuse_inside_task(*, is_refused: bool) -> None:
    """Refuse to wait inside a task: all workers may wait for each other.

    Raises:
        RuntimeError: `is_refused`, and the running task may not wait.
    """
    request = current_request.get() if is_refused else None
    if request is not None and not may_join.get()():
        msg = (
            f"get() called inside task {request.task}[{request.id}]: a worker that "
            "waits for others may wait for itself; link tasks instead, or, "
            "if a slot is free for certain, pass disable_sync_subtasks=False or "
            "wait under celerant.allow_join_result()"
        )
        raise RuntimeError(msg)
