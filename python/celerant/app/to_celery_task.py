"""Run a Celerant task inside Celery: its function and hooks, under Celery's request."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant.app.to_celery_chord import apply_with_handle
from celerant.context.request import Request, current_request
from celerant.errors import (
    MaxRetriesExceeded,
    Reject,
    Replaced,
    Retry,
    SoftTimeLimitExceeded,
    TaskControl,
)
from celerant.results.tracking.waiting import may_join
from celerant.running.softlimit import as_celery_knows_it, let_soft_limits_be_caught
from celerant.tasks.annotations import annotations_of
from celerant.tasks.options import OPTIONS, TaskOption
from celerant.tasks.task import Task

if TYPE_CHECKING:
    import celery

__all__ = ["AnnotatedThere", "register"]

#: Hooks that Celery calls beside the function.
_HOOKS_OF_A_RUN = frozenset(
    {"after_return", "before_start", "on_failure", "on_retry", "on_success"}
)
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
_ANYTHING = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)

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
    "properties",
    "argsrepr",
    "kwargsrepr",
    "logfile",
    "loglevel",
)


def register(made: celery.Celery, task: Any) -> None:
    """Make a task of ours a task of the Celery app `made`.

    Its function gets Celery's own task as `self`. If ``base=`` names its
    class, the function and the hooks get ours, as in the embedded worker: attributes
    and methods of that class are there alone.
    """
    is_classed = type(task).__mro__[1] is not Task
    run = task if is_classed else vars(type(task))["run"]
    if isinstance(run, staticmethod):
        run = run.__func__
    space: dict[str, Any] = {
        name: getattr(task, name)
        for name, option in OPTIONS.items()
        if option.treatment != "refused" and _is_own(task, name, option)
    }
    if is_classed:
        # Our task retries, with the hooks of its class.
        space.pop("autoretry_for", None)
    for hook in task.hooks & _HOOKS_OF_A_RUN:
        space[hook] = _hook(task, hook)
    if "shadow_name" in task.hooks:
        space["shadow_name"] = _static(task.shadow_name)
    if task.dump_models is not None:
        # Celery 5.7 calls it for arguments of its own pydantic tasks.
        space["_dump_pydantic_arguments"] = staticmethod(task.dump_models)
    if task.takes_header:
        space["apply_async"] = apply_with_handle(made, task)
    if not task.is_decorated:
        # As in Celery, nobody checks the arguments of a class, and as an errback it is
        # sent the id: Celery tells that by the type of this.
        space["__header__"] = functools.partial(_unchecked)
    # Attributes of the user's own.
    space["__getattr__"] = _elsewhere(task)
    made.task(
        name=task.name,
        bind=task.bind and not is_classed,
        # A shared task would appear in every other Celery app here.
        shared=False,
        **space,
    )(_run_in_celery(made, task, run, is_entered=not is_classed))


def _unchecked(*args: Any, **kwargs: Any) -> None:
    """Take any arguments."""


def _is_own(task: Any, name: str, option: TaskOption) -> bool:
    if option.setting is not None:
        return task.own_option(name) is not None
    return getattr(task, name) is not option.default


def _run_in_celery(
    made: celery.Celery, task: Any, function: Callable[..., Any], *, is_entered: bool
) -> Callable[..., Any]:
    """Return the function that Celery calls instead of a task's own.

    Tasks that Celerant sends inside it get Celery's root and parent, and count among
    the children of Celery's stored result. `get` is refused if Celery's is.
    """
    name = task.name

    @functools.wraps(function, updated=())
    def run(*args: Any, **kwargs: Any) -> Any:
        theirs = made.tasks[name]
        context = theirs.request
        # Called as a function, perhaps by another task: that one is still the parent.
        if context.called_directly or not context.id:
            return function(*args, **kwargs)
        let_soft_limits_be_caught()
        request = _read(name, context, is_entered=is_entered)
        token = current_request.set(request)
        joins = may_join.set(_celery_allows)
        try:
            value = _value(function, args, kwargs)
            _send_successors(request)
        except (TaskControl, MaxRetriesExceeded) as exc:
            raise _theirs(exc, theirs, request) from exc
        except SoftTimeLimitExceeded as exc:
            raise as_celery_knows_it(exc) from None
        else:
            return value
        finally:
            may_join.reset(joins)
            current_request.reset(token)
            for child in request.children:
                theirs.add_trail(_Child(child))

    if not run.__name__.isidentifier():
        # Celery writes a function with this name, and a lambda's name is no identifier.
        run.__name__ = "run"
    # Celery checks arguments by it when a task is sent.
    taken = task.parameters
    if taken is None:
        run.__signature__ = _ANYTHING  # type: ignore[attr-defined]
    else:
        own = [_SELF] if task.bind and is_entered else []
        run.__signature__ = taken.replace(  # type: ignore[attr-defined]
            parameters=[*own, *taken.parameters.values()]
        )
    return run


def _value(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except Replaced as done:
        # The replacement has run in place.
        return done.value


def _hook(task: Any, hook: str) -> Callable[..., None]:
    """Return a method of Celery's task that calls the hook of ours."""

    def call(theirs: Any, *args: Any, **kwargs: Any) -> None:
        request = _read(task.name, theirs.request, is_entered=False)
        token = current_request.set(request)
        try:
            getattr(task, hook)(*args, **kwargs)
        finally:
            current_request.reset(token)

    return call


def _static(function: Callable[..., Any]) -> Any:
    return staticmethod(function)


def _elsewhere(task: Any) -> Callable[[Any, str], Any]:
    def find(_theirs: Any, name: str) -> Any:
        # By `_orig_run` Celery sees that a task retries already; theirs does not yet.
        if name.startswith("__") or name == "_orig_run":
            raise AttributeError(name)
        return getattr(task, name)

    return find


class AnnotatedThere:
    """Annotations for Celery's own tasks."""

    def __init__(self, annotations: Any, ours: set[str]) -> None:
        self._annotations = annotations
        self._ours = ours

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """Return the annotations of Celery's task; our tasks have theirs already."""
        if task.name in self._ours:
            return None
        found: dict[str, Any] = {}
        for said in annotations_of(self._annotations, task):
            found.update(said)
        return found


def _celery_allows() -> bool:
    """Whether Celery allows waiting for results now: in its pool it may not."""
    from celery._state import task_join_will_block  # noqa: PLC0415 - an extra

    return not task_join_will_block()


def _read(name: str, context: Any, *, is_entered: bool) -> Request:
    known = {field: getattr(context, field, None) for field in _SAME}
    given = {field: value for field, value in known.items() if value is not None}
    limits = tuple(getattr(context, "timelimit", None) or (None, None))
    # If Celery calls the function itself, our calls inside are direct.
    return Request(context.id, name, timelimit=limits, is_entered=is_entered, **given)


def _send_successors(request: Request) -> None:
    """Send the retries that our task asked for, not Celery's."""
    successors, request.successors = request.successors, []
    try:
        for successor in successors:
            successor.apply_async()
    except Exception as exc:
        raise Reject(exc, requeue=False) from exc


def _theirs(exc: Exception, task: Any, request: Request) -> Any:
    """Return Celery's exception for one of ours by which a task steers its worker."""
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
    """A result of Celerant's, as Celery's backends store it."""

    __slots__ = ("_form",)

    def __init__(self, form: Any) -> None:
        self._form = form

    def as_tuple(self) -> Any:
        return self._form
