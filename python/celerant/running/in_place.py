"""Running tasks in place: `apply`, and all sends under ``task_always_eager``."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kombu.serialization import dumps, loads

from celerant._core import Barrier, Roster
from celerant.canvas.freezing import leaves
from celerant.canvas.group import group
from celerant.canvas.send_options import check_options
from celerant.canvas.signature import Signature
from celerant.common.foreign import is_a
from celerant.common.listed import listed, listed_if_given
from celerant.config import suggestion
from celerant.context.call import Call
from celerant.context.request import Request, current_request
from celerant.errors import ArgumentError, EncodeError, NotRegistered, Retry
from celerant.results.async_result import AsyncResult
from celerant.results.group_result import GroupResult
from celerant.results.tracking.forms import shape_of
from celerant.results.tracking.members import Members, sealed
from celerant.running.continuation import Continuation
from celerant.running.errbacks import call_errbacks
from celerant.running.storing import Storing
from celerant.running.telling import end, is_told, tell_last
from celerant.running.trace import FAILURE, SUCCESS, Outcome, failure, run_task
from celerant.tasks.control_flow import RETRY

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.tasks.task import Task

__all__ = ["run_group", "run_signature"]

#: A state without a code, such as an ignored task's, has no value to wait for.
_CODES = {SUCCESS: Barrier.SUCCESS, FAILURE: Barrier.FAILURE}


def run_group(app: App, members: group[Any], call: Call) -> GroupResult[Any]:
    """Run the members one after the other and return their finished results.

    Raises:
        NotRegistered: A member whose task is not registered here.
        Exception: A member raised it, and `throw` or ``task_eager_propagates`` is
            set.
    """
    throw = _taken_throw(app, call.options)
    check_options(call.options, "group")
    args, kwargs, _ = call
    merged = members.merged_options(call.options)
    roster = Roster(members.seed or uuid.uuid4().bytes)
    group_id = merged.pop("task_id", None) or roster.uuid
    tasks = leaves(members, app)
    roster.resize(len(tasks))
    for index, task in enumerate(tasks):
        if task.options.get("task_id"):
            roster.adopt(index, task.options["task_id"])
        # As in a send, nothing runs if one member is wrong.
        path = f"group[{index}]"
        check_options(task.options, path, f"{path}: task {task.task}")
        if isinstance(task, Signature):
            check_call(app, task, call, path, index)
    runs = _Runs(app, call._replace(options=merged), throw, group_id)
    nested: dict[int, GroupResult[Any]] = {}
    ends: list[tuple[int, Any]] = []
    for index, task in enumerate(tasks):
        if isinstance(task, Signature):
            ends.append(runs.run(task, roster.id(index), index))
            continue
        of_call = {**merged, "task_id": roster.id(index), "throw": throw}
        result = task.apply(args, kwargs, **of_call)
        value = None
        if isinstance(result, GroupResult):
            nested[index] = result
        else:
            value = result.get(propagate=False, disable_sync_subtasks=False)
            if result.id != roster.id(index):
                # Its last task has an id of its own.
                roster.adopt(index, result.id)
        # Its state decides, since a task may have returned an exception.
        failed = result.failed()
        ends.append((Barrier.FAILURE if failed else Barrier.SUCCESS, value))
    finished = _finished(app, roster, group_id, ends)
    for index, inner in nested.items():
        roster.keep_shapes(index, index + 1, shape_of(inner.as_tuple()))
        finished.settle_member(index, inner)
    return finished


def run_signature(app: App, signature: Signature[Any], call: Call) -> AsyncResult[Any]:
    """Run one task and return its finished result.

    Raises:
        NotRegistered: The task is not registered here.
        Exception: The task raised it, and `throw` or ``task_eager_propagates`` is set.
    """
    options = call.options
    throw = _taken_throw(app, options)
    check_options(options, "task", f"task {signature.task}")
    roster = Roster(uuid.uuid4().bytes)
    roster.resize(1)
    own = options.get("task_id") or signature.options.get("task_id")
    if own:
        roster.adopt(0, own)
    check_call(app, signature, call)
    done = _Runs(app, call, throw).run(signature, roster.id(0))
    return _finished(app, roster, roster.uuid, [done])[0]


def _taken_throw(app: App, options: dict[str, Any]) -> bool:
    """Take `apply`'s own options from a call's; return whether it raises."""
    throw = options.pop("throw", None)
    return bool(app.conf.task_eager_propagates if throw is None else throw)


def check_call(
    app: App,
    signature: Signature[Any],
    call: Call,
    path: str = "task",
    index: int | None = None,
) -> None:
    """Refuse a task that is not here, and arguments that it does not take.

    Args:
        app: The app that has the task.
        signature: The task, with its own arguments.
        call: The arguments and options it is called with.
        path: Its path in the canvas.
        index: Its `group_index`, if it is a member.
    """
    name = signature.task
    try:
        task = app.tasks[name]
    except KeyError:
        near = suggestion(str(name), frozenset(app.tasks))
        msg = (
            f"{path}: task {name!r} is not registered here{near}: it cannot run in "
            "place"
        )
        raise NotRegistered(msg) from None
    if task.parameters is None or not task.typing:
        return
    call_args, call_kwargs = signature.merged(call.args, call.kwargs)
    try:
        task.parameters.bind(*call_args, **call_kwargs)
    except TypeError as exc:
        whose = f"task {name}" if path == "task" else f"{path}: task {name}"
        msg = f"{whose}: {exc}; the call does not match the task's parameters"
        raise ArgumentError(msg, task=name, group_index=index, path=path) from None


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs tasks with one call."""

    app: App
    call: Call
    #: Whether the exception of a task is raised here.
    throw: bool
    group_id: str | None = None

    def run(
        self, signature: Signature[Any], task_id: str, index: int | None = None
    ) -> tuple[int, Any]:
        """Run one task; return its state and its value or exception."""
        app = self.app
        task = app.tasks[signature.task]
        request = self._request(signature, task, task_id, index)
        outcome = run_task(task, request)
        if outcome.state == SUCCESS and request.callbacks:
            problem = Continuation(app, Storing(app.backend)).send(
                request, outcome.value
            )
            if problem is not None:
                outcome = failure(problem, outcome.runtime)
        raised = outcome.exception
        if raised is not None and outcome.state in {FAILURE, RETRY}:
            if self.throw:
                tell_last(task, request, outcome)
                raise raised
            if outcome.state == FAILURE:
                call_errbacks(app, request, raised, outcome.traceback)
        if task.store_eager_result and _is_stored(task, request, outcome):
            outcome = _stored(app, request, outcome)
            raised = outcome.exception
            if self.throw and raised is not None:
                raise raised
        if is_told(task):
            end(task, request, outcome)
        if is_a(raised, Retry) and raised.sig is not None:
            again = replace(self, call=Call((), {}, {}))
            return again.run(raised.sig, task_id, index)
        state = _CODES.get(outcome.state, Barrier.IGNORED)
        return state, outcome.value if raised is None else raised

    def _request(
        self,
        signature: Signature[Any],
        task: Task[Any, Any],
        task_id: str,
        index: int | None,
    ) -> Request:
        """Return the request of a call, as its message would tell it."""
        options = signature.merged_options(self.call.options)
        args, kwargs = signature.merged(self.call.args, self.call.kwargs)
        if self.app.conf.task_always_eager:
            serializer = options.get("serializer") or task.serializer
            args, kwargs = _as_sent(task, args, kwargs, serializer, index)
        parent = current_request.get()
        stamps = options.get("stamped_headers") or ()
        return Request(
            id=task_id,
            task=signature.task,
            args=tuple(args),
            kwargs=dict(kwargs),
            root_id=(parent.root_id or parent.id) if parent else task_id,
            parent_id=parent.id if parent else None,
            group=self.group_id,
            group_index=index,
            callbacks=listed_if_given(options.get("link")),
            errbacks=listed_if_given(options.get("link_error")),
            retries=options.get("retries") or 0,
            timelimit=(task.time_limit, task.soft_time_limit),
            headers=dict(options.get("headers") or {}),
            stamped_headers=list(stamps) or None,
            stamps={name: listed(options.get(name)) for name in stamps},
            ignore_result=bool(options.get("ignore_result", task.ignore_result)),
            delivery_info={
                "is_eager": True,
                **{n: options.get(n) for n in ("exchange", "routing_key", "priority")},
            },
            hostname=socket.gethostname(),
            is_eager=True,
            logfile=options.get("logfile"),
            loglevel=options.get("loglevel") or 0,
        )


def _as_sent(
    task: Task[Any, Any], args: Any, kwargs: Any, serializer: str, index: int | None
) -> Any:
    """Return arguments as they would arrive, or refuse those that would not."""
    if task.dump_models is not None and serializer != "pickle":
        args, kwargs = task.dump_models(args, kwargs)
    # Of a header that ran here; a message would have its handle.
    is_header = task.takes_header and args and isinstance(args[0], GroupResult)
    header, args = (args[:1], args[1:]) if is_header else ((), args)
    try:
        content_type, encoding, data = dumps((args, kwargs), serializer)
    except Exception as exc:
        path = "task" if index is None else f"group[{index}]"
        msg = (
            f"{path}: task {task.name}: {serializer} does not take an argument: "
            f"{exc}; send plain data, or choose another serializer "
            "(task_serializer, serializer=)"
        )
        raise EncodeError(msg, task=task.name, group_index=index, path=path) from exc
    args, kwargs = loads(data, content_type, encoding, accept=[content_type])
    return (*header, *args), kwargs


def _stored(app: App, request: Request, outcome: Outcome) -> Outcome:
    """Store the outcome; return it, or a failure if its value cannot be stored."""
    storing = Storing(app.backend)
    # One attempt is enough: the caller that runs it in place has its value.
    storing.stop()
    problem = storing(request, outcome.result, outcome.state, outcome.traceback)
    if problem is not None:
        outcome = failure(problem, outcome.runtime)
        storing(request, problem, FAILURE, outcome.traceback)
    return outcome


def _is_stored(task: Task[Any, Any], request: Request, outcome: Outcome) -> bool:
    if outcome.state not in {SUCCESS, FAILURE, RETRY}:
        return False
    return not request.ignore_result or (
        outcome.state != SUCCESS and bool(task.store_errors_even_if_ignored)
    )


def _finished(
    app: App, roster: Roster, group_id: str, runs: list[tuple[int, Any]]
) -> GroupResult[Any]:
    barrier = sealed(len(runs))
    for index, (state, _) in enumerate(runs):
        barrier.arrive(index, state)
    values = [value for _, value in runs]
    members = Members(
        roster, app.backend, barrier=barrier, values=values, is_group=True
    )
    return GroupResult(group_id, members)
