"""Running tasks in place: `apply`, and all sends under ``task_always_eager``."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kombu.serialization import dumps, loads

from celerant._core import Barrier, Roster
from celerant.canvas.group import group
from celerant.canvas.request import Request, current_request
from celerant.canvas.signature import Signature
from celerant.dispatch.options import check_options
from celerant.errors import EncodeError
from celerant.freezing import leaves
from celerant.results.group_result import GroupResult
from celerant.results.result import AsyncResult
from celerant.worker.trace import run_task

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["run_group", "run_signature"]


def run_group(
    app: Celerant,
    members: group[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
) -> GroupResult[Any]:
    """Run the members one after the other and return their finished results.

    Raises:
        LookupError: A member whose task is not registered here.
        Exception: What a member raised, where ``task_eager_propagates`` is set.
    """
    check_options(options, "group")
    call = members.merged_options(options)
    seed = members._seed or uuid.uuid4().bytes  # noqa: SLF001 - set by our own freeze
    roster = Roster(seed)
    group_id = call.pop("task_id", None) or roster.uuid
    tasks = leaves(members, app)
    roster.resize(len(tasks))
    for index, task in enumerate(tasks):
        if task.options.get("task_id"):
            roster.adopt(index, task.options["task_id"])
    for index, task in enumerate(tasks):
        # As when sent: nothing runs where one member is wrong.
        check_options(task.options, f"group[{index}]: task {task.task}")
        _check_call(app, task, args, kwargs, f"group[{index}]")
    runs = [
        _run(app, task, args, kwargs, call, roster.id(index), group_id, index)
        for index, task in enumerate(tasks)
    ]
    return _finished(app, roster, group_id, runs)


def run_signature(
    app: Celerant,
    signature: Signature[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
) -> AsyncResult[Any]:
    """Run one task and return its finished result.

    Raises:
        LookupError: The task is not registered here.
        Exception: What it raised, where ``task_eager_propagates`` is set.
    """
    check_options(options, f"task {signature.task}")
    roster = Roster(uuid.uuid4().bytes)
    roster.resize(1)
    own = options.get("task_id") or signature.options.get("task_id")
    if own:
        roster.adopt(0, own)
    _check_call(app, signature, args, kwargs, "task")
    run = _run(app, signature, args, kwargs, options, roster.id(0), None, None)
    return _finished(app, roster, roster.uuid, [run])[0]


def _check_call(
    app: Celerant,
    signature: Signature[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    path: str,
) -> None:
    """Refuse a task that is not here, and arguments that it does not take."""
    name = signature.task
    try:
        task = app.tasks[name]
    except KeyError:
        msg = f"{path}: task {name!r} is not registered here: it cannot run in place"
        raise LookupError(msg) from None
    if task.parameters is None or not task.typing:
        return
    call_args, call_kwargs = signature.merged(args, kwargs)
    try:
        task.parameters.bind(*call_args, **call_kwargs)
    except TypeError as exc:
        msg = f"{path}: task {name}: {exc}; the call does not match its parameters"
        raise TypeError(msg) from None


def _run(  # noqa: PLR0913, PLR0917 - a member and its place
    app: Celerant,
    signature: Signature[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    task_id: str,
    group_id: str | None,
    index: int | None,
) -> tuple[int, Any]:
    """Run one task; return its state and its value or exception."""
    merged = signature.merged_options(options)
    call_args, call_kwargs = signature.merged(args, kwargs)
    task = app.tasks[signature.task]
    if app.conf.task_always_eager:
        # As if it had been sent: what a serializer changes or refuses shows here too.
        serializer = merged.get("serializer") or task.serializer
        serializer = serializer or app.conf.task_serializer
        try:
            kind, encoding, data = dumps((call_args, call_kwargs), serializer)
        except Exception as exc:
            path = "task" if index is None else f"group[{index}]"
            msg = f"{path}: task {signature.task}: {serializer} does not take it: {exc}"
            raise EncodeError(
                msg, task=signature.task, group_index=index, path=path
            ) from exc
        call_args, call_kwargs = loads(data, kind, encoding, accept=[kind])
    parent = current_request.get()
    request = Request(
        id=task_id,
        task=signature.task,
        args=tuple(call_args),
        kwargs=dict(call_kwargs),
        root_id=(parent.root_id or parent.id) if parent else task_id,
        parent_id=parent.id if parent else None,
        group=group_id,
        group_index=index,
        headers=dict(merged.get("headers") or {}),
        ignore_result=bool(merged.get("ignore_result", task.ignore_result)),
        delivery_info={"is_eager": True},
        hostname=socket.gethostname(),
        is_eager=True,
    )
    outcome = run_task(task, request)
    failed = outcome.exception is not None
    if app.conf.task_store_eager_result:
        app.backend.store_result(
            task_id, outcome.result, outcome.state, outcome.traceback, request=request
        )
    if failed and app.conf.task_eager_propagates and outcome.exception is not None:
        raise outcome.exception
    return (Barrier.FAILURE if failed else Barrier.SUCCESS), outcome.result


def _finished(
    app: Celerant, roster: Roster, group_id: str, runs: list[tuple[int, Any]]
) -> GroupResult[Any]:
    barrier = Barrier()
    barrier.grow(len(runs))
    barrier.seal(len(runs))
    for index, (state, _) in enumerate(runs):
        barrier.arrive(index, state)
    return GroupResult(
        roster=roster,
        group_id=group_id,
        barrier=barrier,
        backend=app.backend,
        values=[value for _, value in runs],
    )
