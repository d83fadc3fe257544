"""Chains and chords in place: `apply`, and all sends under ``task_always_eager``.

Source: ``_chain.apply`` and ``_chord.apply`` of ``celery.canvas`` of celery 5.7.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord, drop_waiting
from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.canvas.send_options import check_options
from celerant.common.listed import listed
from celerant.results.async_result import AsyncResult
from celerant.running.header_results import takes_result

if TYPE_CHECKING:
    from celerant.context.call import Call
    from celerant.context.host import App

__all__ = ["run_canvas"]

#: States of a step after which the others do not run.
_ENDS = frozenset({"IGNORED", "REJECTED"})


def run_canvas(app: App, canvas: Any, call: Call) -> Any:
    """Run a chain or chord and return the finished result of its last step.

    Raises:
        Exception: An earlier step than the last raised it, as in Celery.
    """
    followed: list[Any] = []
    step = _Step(canvas, call.args, dict(call.kwargs), dict(call.options))
    # A loop, in which a last step that is a canvas comes next: (group, task) pairs in a
    # chain are chords, each in the body of the one before, and may be hundreds.
    while isinstance(step.task, (chord, Chain)):
        run = _run_header if isinstance(step.task, chord) else _run_steps
        last, rest = run(app, step)
        if rest is None:
            return _following(last, followed)
        if last is not None:
            followed.append(last)
        app, step = rest.task.app, rest
    result = step.task.apply(step.args, step.kwargs, **step.options)
    return _following(result, followed)


@dataclass(slots=True)
class _Step:
    """The canvas to run, and the call of it."""

    task: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    #: Whether all of it is a copy: the caller's own stays as it is.
    is_copy: bool = False

    def copied(self, task: Any) -> Any:
        """Return a task of this canvas, which may be changed and run."""
        return task if self.is_copy else task.clone()


def _run_steps(app: App, step: _Step) -> tuple[Any, _Step | None]:
    """Run a chain up to its last step.

    Returns:
        The result so far, and the rest of the canvas; None if nothing is left.
    """
    canvas: Chain[Any] = step.task
    options = {**canvas.options, **step.options}
    callbacks = listed(options.pop("link", None))
    # It names the last step.
    task_id = options.pop("task_id", None)
    steps = [maybe_signature(task, canvas.own_app or app) for task in canvas.tasks]
    if not steps:
        return None, None
    *before, end = [task for task in steps if not _is_empty(task)] or steps[-1:]
    args, kwargs, last = step.args, step.kwargs, None
    for task in before:
        result = step.copied(task).apply(args, kwargs, **options)
        last = _following(result, [] if last is None else [last])
        if isinstance(result, AsyncResult) and result.state in _ENDS:
            return last, None
        # A step that failed raises here.
        args, kwargs = (last.get(disable_sync_subtasks=False),), {}
    end = step.copied(end)
    _extend_links(end, callbacks)
    _name(end, task_id)
    return last, _Step(end, args, kwargs, options, is_copy=True)


def _run_header(app: App, step: _Step) -> tuple[Any, _Step]:
    """Run a chord's header; return its result, and the body to run."""
    canvas: chord[Any] = step.task
    of_body = {"throw": step.options.pop("throw", None)}
    check_options(step.options, "chord")
    body = _called_body(step)
    tasks: Any = group(canvas.tasks, app=canvas.own_app or app)
    args = canvas.args if canvas.immutable else (*step.args, *canvas.args)
    kwargs = {**(canvas.kwargs.get("kwargs") or {}), **step.kwargs}
    header = tasks.apply(args, kwargs)
    values: Any = header.get(disable_sync_subtasks=False)
    if takes_result(app.tasks, body):
        header.members.were_done = True
        values = header
    return header, _Step(body, (values,), {}, of_body, is_copy=True)


def _called_body(step: _Step) -> Any:
    """Return a copy of a chord's body, with the options of the chord and of the call.

    As in a send; Celery's `apply` forgets most of them.
    """
    canvas: chord[Any] = step.task
    body = step.copied(canvas.bodied())
    options = drop_waiting({**canvas.options, **step.options})
    for callback in listed(options.pop("link", None)):
        if _is_empty(body):
            body.append_to_list_option("link", callback)
        else:
            body.link(callback)
    for errback in listed(options.pop("link_error", None)):
        if isinstance(body, group):
            _link_to_members(body, maybe_signature(errback, body.own_app))
        else:
            body.append_to_list_option("link_error", errback)
    _name(body, options.pop("task_id", None))
    body.options.update(options)
    return body


def _name(canvas: Any, task_id: str | None) -> None:
    """Give the last task of a copy the id of a call, if it has none of its own.

    The id of a chain or chord is none: a frozen chord has its header's.
    """
    is_last = not isinstance(canvas, (Chain, chord))
    if task_id is not None and not (is_last and canvas.options.get("task_id")):
        canvas.options["task_id"] = task_id


def _link_to_members(canvas: Any, errback: Any, *, runs_as_group: bool = True) -> None:
    """Link an errback to each task of a group that is a chord's body.

    Source: ``_link_error_to_body_tasks`` of ``celery.canvas`` of celery 5.7.0.
    """
    if isinstance(canvas, chord):
        _link_to_members(canvas.bodied(), errback)
    elif not isinstance(canvas, group):
        canvas.link_error(errback.clone())
    elif runs_as_group and canvas.options.get("link_error") is not None:
        # It takes the place of those of the members when the group runs.
        canvas.append_to_list_option("link_error", errback.clone())
    else:
        for member in canvas.tasks:
            _link_to_members(member, errback, runs_as_group=False)


def _following(result: Any, followed: list[Any]) -> Any:
    """Return a result with these as its parents, the nearest one last."""
    first = result
    for parent in reversed(followed):
        _first_of(first).parent = parent
        first = parent
    return result


def _first_of(result: Any) -> Any:
    """Return the first of a result's parents, which has no parent itself."""
    while result.parent is not None:
        result = result.parent
    return result


def _extend_links(canvas: Any, callbacks: list[Any]) -> None:
    """Let `callbacks` run after a copy of the canvas, or after each task of a group."""
    if isinstance(canvas, chord):
        _extend_links(canvas.bodied(), callbacks)
    elif callbacks:
        own = listed(canvas.options.get("link"))
        canvas.options["link"] = [*own, *callbacks]


def _is_empty(step: Any) -> bool:
    return isinstance(step, group) and not step.tasks
