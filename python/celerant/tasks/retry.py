"""Run a task again: `self.retry`, and the retries of ``autoretry_for``.

Source: ``Task.retry``, ``Task.signature_from_request`` and ``celery.app.autoretry`` of
celery 5.7.0.
"""

from __future__ import annotations

import functools
import inspect
import random
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from celerant.canvas.send_options import check_options
from celerant.canvas.signature import Signature
from celerant.errors import Ignore, MaxRetriesExceeded, Retry, SettingError
from celerant.tasks import control_flow
from celerant.tasks.parameters import taken_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celerant.context.request import Request
    from celerant.tasks.task import Task

__all__ = [
    "ask_again",
    "ask_retry",
    "check_retry_options",
    "retry_automatically",
    "signature_of",
]


def ask_retry(  # noqa: PLR0913 - what `Task.retry` takes
    task: Task[Any, Any],
    args: tuple[Any, ...] | list[Any] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    exc: BaseException | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """Let the worker send the task again once its function has ended.

    Raises:
        SettingError: An option that does not exist.
        MaxRetriesExceeded: It was retried too often, and there is no `exc`.
        BaseException: `exc`, for the same reason or if the task was called.
    """
    request = task.request
    if max_retries is None:
        max_retries = task.max_retries
    else:
        request.max_retries = max_retries
    if request.called_directly:
        _raise(exc or Retry("Task can be retried"))
    check_options(options, "retry", f"task {task.name}: retry")
    if not options.get("eta") and options.get("countdown") is None:
        options["countdown"] = task.default_retry_delay
    given, named = _arguments(task, request, args, kwargs)
    retries = request.retries + 1
    options["retries"] = retries
    again = signature_of(task, request, given, named, options)
    if max_retries is not None and retries > max_retries:
        if exc is not None:
            _raise(exc)
        msg = (
            f"task {task.name}[{request.id}] was retried {request.retries} times, and "
            f"its max_retries is {max_retries}; pass exc= to store the reason instead"
        )
        raise MaxRetriesExceeded(msg, task_args=again.args, task_kwargs=again.kwargs)
    if not request.is_eager:
        request.successors.append(again)
    when = options.get("eta") or options.get("countdown")
    return Retry(None, exc, when, is_eager=request.is_eager, sig=again)


def ask_again(task: Task[Any, Any], request: Request, exc: Any) -> Retry | None:
    """Let the worker send a task again that did not end; None if it may not.

    Source: ``Request._retry_worker_lost`` of celery 5.7.0.
    """
    retries, countdown = request.retries + 1, task.default_retry_delay
    if task.max_retries is not None and retries > task.max_retries:
        return None
    options = {"countdown": countdown, "retries": retries}
    again = signature_of(task, request, tuple(request.args), request.kwargs, options)
    request.successors.append(again)
    return Retry(None, exc, countdown, sig=again)


def _raise(exc: BaseException) -> NoReturn:
    current = sys.exc_info()[1]
    if current is exc:
        raise exc
    raise exc from current


def signature_of(
    task: Task[Any, Any],
    request: Request,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Signature[Any]:
    """Return a request's call as a signature, which is sent again with `options`."""
    given = {k: v for k, v in options.items() if k != "queue" or v}
    route = _route(request, is_sent_elsewhere="queue" in given)
    merged = {**_options(request), **route, **given}
    present = {name: value for name, value in merged.items() if value is not None}
    return Signature(task.name, args, dict(kwargs), present, app=task.app)


def _options(request: Request) -> dict[str, Any]:
    options = request.as_execution_options()
    options["headers"] = options["headers"] or None
    return {**options, "ignore_result": request.ignore_result}


def _route(request: Request, *, is_sent_elsewhere: bool) -> dict[str, Any]:
    info = request.delivery_info
    route = {"priority": info.get("priority")}
    if is_sent_elsewhere:
        # An exchange goes before a queue: the retry would go the old way.
        return route
    exchange, routing_key = info.get("exchange"), info.get("routing_key")
    if exchange == "" and routing_key:
        # The exchange without a name takes a queue's name as routing key.
        return {**route, "queue": routing_key}
    return {**route, "exchange": exchange, "routing_key": routing_key}


def _arguments(
    task: Task[Any, Any],
    request: Request,
    args: tuple[Any, ...] | list[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments of the next run: given ones, else this run's.

    A new positional argument replaces an old keyword one, and the other way round.
    """
    own_args, own_kwargs = tuple(request.args), request.kwargs
    given = own_args if args is None else tuple(args)
    named = own_kwargs if kwargs is None else kwargs
    if (args is None) == (kwargs is None):
        return given, named
    # Those of a decorated function, whose wrapper tells no names.
    parameters = taken_by(task.run, follow_wrapped=True)
    if parameters is None:
        return given, named
    if args is not None:
        positional = [
            p
            for p in parameters.parameters.values()
            if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
        ]
        taken = {
            p.name
            for p in positional[: len(given)]
            if p.kind is p.POSITIONAL_OR_KEYWORD
        }
        return given, {k: v for k, v in own_kwargs.items() if k not in taken}
    try:
        bound = parameters.bind_partial(*own_args)
    except TypeError:
        return given, named
    rest = dict(named)
    for name in named:
        kind = parameters.parameters[name].kind if name in bound.arguments else None
        if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            bound.arguments[name] = rest.pop(name)
    return bound.args, {**bound.kwargs, **rest}


def retry_automatically(task: Task[Any, Any]) -> None:
    """Let `task.run` retry the task after the errors of its options.

    It is the method itself, because a ``__call__`` of the user's own may call it. The
    one below is `_orig_run`, as in Celery.
    """
    if task.autoretry_for and "_orig_run" not in vars(task):
        task._orig_run = task.run  # noqa: SLF001 - Celery's name
        task.run = _retrying(task)  # type: ignore[method-assign]  # as Celery does


def _retrying(task: Task[Any, Any]) -> Callable[..., Any]:
    @functools.wraps(task.run)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return task._orig_run(*args, **kwargs)  # noqa: SLF001 - Celery's name
        # Looked up each time: annotations may change them.
        except tuple(task.autoretry_for) as exc:
            if isinstance(exc, tuple(task.dont_autoretry_for)) or isinstance(
                control_flow.read(exc), (Ignore, Retry)
            ):
                raise
            options = dict(task.retry_kwargs)
            if task.retry_backoff:
                options["countdown"] = _backoff(task, task.request.retries)
            # The function's own retry goes before the task's options.
            if task.request.max_retries is not None:
                options["max_retries"] = task.request.max_retries
            raise task.retry(exc=exc, **options) from exc

    return run


def _backoff(task: Task[Any, Any], retries: int) -> int:
    """Return the seconds to the next run: doubled each time, up to a maximum."""
    factor = int(max(1.0, float(task.retry_backoff)))
    most = int(task.retry_backoff_max)
    # A message may claim that it was retried a billion times.
    doublings = min(max(0, retries), max(0, most).bit_length())
    seconds = min(most, factor * 2**doublings)
    # Full jitter: tasks that failed together should not come back together.
    # https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    if task.retry_jitter:
        seconds = random.randrange(seconds + 1)  # noqa: S311 - no secret
    return max(0, int(seconds))


def check_retry_options(task: Task[Any, Any]) -> None:
    """Refuse wrong retry options of a user's class, and those that would fail late.

    Raises:
        SettingError: ``autoretry_for`` or ``dont_autoretry_for`` has something that is
            no exception.
    """
    for option in ("autoretry_for", "dont_autoretry_for"):
        classes = getattr(task, option)
        if not isinstance(classes, (tuple, list, set, frozenset)) or not all(
            isinstance(one, type) and issubclass(one, BaseException) for one in classes
        ):
            msg = (
                f"task {task.name}: {option} must be a tuple of exception classes, "
                f"not {classes!r}"
            )
            raise SettingError(msg, name=option)
