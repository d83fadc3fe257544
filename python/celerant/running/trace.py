"""Run one task and return its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.foreign import is_a, traceback_of, traceback_text, with_traceback
from celerant.context.request import current_request
from celerant.errors import Replaced, Retry
from celerant.running.surroundings import surrounded
from celerant.running.telling import begin, is_told
from celerant.tasks import control_flow

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.request import Request

__all__ = [
    "FAILURE",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "Outcome",
    "failure",
    "run_task",
]

SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
STARTED = "STARTED"

#: Modules whose frames above a task's own do not help the reader.
_OUR_FRAMES = frozenset(
    {__name__, "celerant.running.softlimit", "celerant.running.surroundings"}
)


@dataclass(slots=True)
class Outcome:
    """The outcome of one run of a task."""

    #: ``"SUCCESS"``, ``"FAILURE"``, ``"REVOKED"``, ``"RETRY"``, ``"IGNORED"`` or
    #: ``"REJECTED"``.
    state: str
    #: The task's return value; None unless `state` is SUCCESS.
    value: Any = None
    #: Its exception; None if `state` is SUCCESS.
    exception: BaseException | None = None
    #: The traceback as text, as results store it.
    traceback: str | None = None
    #: Seconds from the call to its end.
    runtime: float = 0.0
    #: Whether the process that ran the task died under it.
    is_lost: bool = False
    #: Whether it was killed for running longer than it may.
    is_overrun: bool = False
    #: Whether hooks and signals were called, in the process that ran it.
    is_told: bool = False

    @property
    def result(self) -> Any:
        """The object to store: the value or the exception; for a retry its reason."""
        if self.state == SUCCESS:
            return self.value
        raised = self.exception
        if not is_a(raised, Retry):
            return raised
        try:
            return raised.exc
        except BaseException:  # noqa: BLE001 - a subclass may have code of its own
            return raised


def run_task(
    task: Callable[..., Any],
    request: Request,
    limited: Callable[..., Any] | None = None,
) -> Outcome:
    """Call `task` with the request's arguments under that request.

    No exception of the task comes out, because a thread of a pool must outlive its
    tasks: one that is no Exception (SystemExit, CancelledError, ...) is a failure too.
    Such a one passes only if the request is eager, since it is then meant for the
    caller.

    Args:
        task: The task to call.
        request: Becomes `current_request` for the time of the call.
        limited: Called in its place, if it has a time limit.
    """
    token = current_request.set(request)
    started = monotonic()
    try:
        if is_told(task):
            begin(task, request)
        # In place it is part of its caller's work.
        call = task if request.is_eager else surrounded(limited or task)
        value = call(*request.args, **request.kwargs)
    except Replaced as done:
        value = done.value
    except Exception as exc:  # noqa: BLE001 - the task's failure is its outcome
        return failure(exc, monotonic() - started)
    except BaseException as exc:
        if request.is_eager:
            raise
        return failure(exc, monotonic() - started)
    finally:
        current_request.reset(token)
    return Outcome(SUCCESS, value, runtime=monotonic() - started)


def failure(exc: BaseException, runtime: float) -> Outcome:
    """Return the outcome of a task that raised: a failure, or control flow."""
    control = control_flow.read(exc)
    state = FAILURE if control is None else control_flow.state_of(control)
    exc = exc if control is None else control
    below = traceback_of(exc)
    while below is not None and below.tb_frame.f_globals.get("__name__") in _OUR_FRAMES:
        below = below.tb_next
    with_traceback(exc, below)
    return Outcome(state, exception=exc, traceback=traceback_text(exc), runtime=runtime)
