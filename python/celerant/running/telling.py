"""Tell of a task's run: the hooks of its class, and the receivers of signals.

The order is that of Celery's worker. Before the function come its signal and hook. Once
its end is stored come the hook and the signal of that end, `after_return`, and the last
signal. In a process pool the child tells, because state of the hooks is there alone.
Source: ``celery.app.trace`` and ``celery.worker.request`` of celery 5.7.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.foreign import is_a, traceback_of
from celerant.common.printable import shown
from celerant.common.receivers import heard, tell
from celerant.context.request import current_request
from celerant.errors import Reject
from celerant.running.logged import logged

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.running.trace import Outcome

__all__ = [
    "ErrorInfo",
    "begin",
    "end",
    "internal_error",
    "is_told",
    "revoked",
    "tell_last",
]

#: Signals that are sent for a task that runs.
_OF_A_RUN = (
    "task_prerun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_postrun",
)
_SUCCESS, _FAILURE, _RETRY = "SUCCESS", "FAILURE", "RETRY"


class ErrorInfo:
    """An exception as hooks and receivers get it: billiard's ``ExceptionInfo``."""

    #: Whether it was Celerant's own fault, and not the task's.
    internal = False

    def __init__(self, exception: BaseException, traceback: str | None) -> None:
        self.exception = exception
        self.type = type(exception)
        #: The traceback as text.
        self.traceback = traceback or ""
        self.tb = traceback_of(exception)

    @property
    def exc_info(self) -> tuple[Any, ...]:
        """The tuple of `sys.exc_info`."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ErrorInfo: {shown(self.exception)}>"


def is_told(task: Any) -> bool:
    """Whether anybody may hear of a task's run."""
    if getattr(task, "hooks", None):
        return True
    signals = heard()
    # An import alone tells nothing, since Celery itself imports them.
    return signals is not None and any(
        getattr(signals, name).receivers for name in _OF_A_RUN
    )


def begin(task: Any, request: Request) -> None:
    """Tell that a task begins; an error of its hook fails it."""
    args, kwargs = request.args, request.kwargs
    tell("task_prerun", task, task_id=request.id, task=task, args=args, kwargs=kwargs)
    if "before_start" in getattr(task, "hooks", ()):
        task.before_start(request.id, args, kwargs)


def end(task: Any, request: Request, outcome: Outcome, *, has_run: bool = True) -> None:
    """Tell how a task ended.

    Hooks' errors are logged, or raised if the task runs in place.

    Args:
        task: The task.
        request: Its request.
        outcome: The run's.
        has_run: Whether `begin` told that it began.
    """
    token = current_request.set(request)
    try:
        try:
            _end(task, request, outcome)
        finally:
            if has_run:
                tell_last(task, request, outcome)
    finally:
        current_request.reset(token)


def _end(task: Any, request: Request, outcome: Outcome) -> None:
    args, kwargs, state = request.args, request.kwargs, outcome.state
    raised = outcome.exception
    if state == _SUCCESS:
        _hook(task, request, "on_success", outcome.value, request.id, args, kwargs)
        tell("task_success", task, result=outcome.value, runtime=outcome.runtime)
    elif raised is None or not (state in {_FAILURE, _RETRY} or _is_over(raised)):
        return
    elif state == _RETRY:
        info, reason = ErrorInfo(raised, outcome.traceback), outcome.result
        _hook(task, request, "on_retry", reason, request.id, args, kwargs, info)
        tell("task_retry", task, request=request, reason=raised, einfo=info)
        return
    else:
        info = ErrorInfo(raised, outcome.traceback)
        is_rejection = is_a(raised, Reject)
        if not is_rejection:
            _hook(task, request, "on_failure", raised, request.id, args, kwargs, info)
        tell(
            "task_failure",
            task,
            task_id=request.id,
            exception=raised,
            args=args,
            kwargs=kwargs,
            traceback=traceback_of(raised),
            einfo=info,
        )
        if is_rejection:
            return
    value = outcome.value if state == _SUCCESS else raised
    _hook(task, request, "after_return", state, value, request.id, args, kwargs, None)


def _is_over(raised: BaseException) -> bool:
    """Whether its message is dropped, which is a failure too."""
    if not is_a(raised, Reject):
        return False
    try:
        return not raised.requeue
    except BaseException:  # noqa: BLE001 - a subclass may have code of its own
        return True


def tell_last(task: Any, request: Request, outcome: Outcome) -> None:
    """Tell that nothing more is done for a task here."""
    state = outcome.state
    if is_a(outcome.exception, Reject):
        state = Reject.state
    tell(
        "task_postrun",
        task,
        task_id=request.id,
        task=task,
        args=request.args,
        kwargs=request.kwargs,
        retval=outcome.value if state == _SUCCESS else outcome.exception,
        state=state,
    )


def _hook(task: Any, request: Request, name: str, *args: Any) -> None:
    if name not in getattr(task, "hooks", ()):
        return
    if request.is_eager:
        getattr(task, name)(*args)
        return
    # The end of the task is stored by now.
    with logged(f"calling {name} of", request):
        getattr(task, name)(*args)


def revoked(
    task: Any, request: Request, *, terminated: bool = False, expired: bool = False
) -> None:
    """Tell that a task does not run, or not to its end."""
    tell(
        "task_revoked",
        task,
        request=request,
        terminated=terminated,
        signum=None,
        expired=expired,
    )


def internal_error(task: Any, request: Request, exc: BaseException) -> None:
    """Tell of an error that was not the task's."""
    tell(
        "task_internal_error",
        task,
        task_id=request.id,
        args=request.args,
        kwargs=request.kwargs,
        request=request,
        exception=exc,
        traceback=traceback_of(exc),
        einfo=ErrorInfo(exc, None),
    )
