"""Replace a task by a canvas, or add a member to its chord.

Source: ``Task.replace`` and ``Task.add_to_chord`` of celery 5.7.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from celerant.canvas.data import maybe_signature
from celerant.errors import CanvasError, Ignore, Replaced
from celerant.tasks.state import refuse_lost_memory

if TYPE_CHECKING:
    from celerant.tasks.task import Task

__all__ = ["extend_chord", "hand_over", "replacement"]


def replacement(task: Task[Any, Any], canvas: Any) -> Any:
    """Return `canvas` with the place of the running task.

    That is its id, its later steps and callbacks, and its part in groups and chords.

    Raises:
        CanvasError: It is no canvas, has a place of its own, or is empty.
    """
    request = task.request
    canvas = maybe_signature(canvas, task.app)
    _check(task, canvas)
    kind = canvas["subtask_type"]
    canvas = _with_one_end(task, canvas)
    for callback in request.callbacks or ():
        canvas.link(maybe_signature(callback, task.app))
    for errback in request.errbacks or ():
        canvas.link_error(maybe_signature(errback, task.app))
    steps = canvas["kwargs"]["tasks"] if kind == "chain" else []
    if "link" in canvas.options and steps:
        # The link belongs to the step that ends the chain now: others are appended
        # below.
        links = canvas.options.pop("link")
        last = steps[-1]["options"]
        last["link"] = [*(last.get("link") or ()), *links]
    if request.reply_to:
        # Otherwise the result would come to this worker, and with `rpc://` nobody would
        # get it.
        _end(canvas)["options"].setdefault("reply_to", request.reply_to)
    canvas.freeze(request.id or None)
    nesting = request.replaced_task_nesting + 1
    canvas.set(
        chord=request.chord,
        group_id=request.group,
        group_index=request.group_index,
        root_id=request.root_id,
        replaced_task_nesting=nesting,
    )
    # These are other objects now: `freeze` has replaced them by copies.
    for step in canvas["kwargs"]["tasks"] if kind == "chain" else ():
        step["options"]["replaced_task_nesting"] = nesting
    # The message's order, in which the next step is the last.
    for step in reversed(request.chain or ()):
        following = maybe_signature(step, task.app).clone()
        canvas |= following.set(replaced_task_nesting=nesting)
    return canvas


def _check(task: Task[Any, Any], canvas: Any) -> None:
    path = f"task {task.name}: replace"
    if not isinstance(canvas, dict):
        msg = (
            f"{path}: it takes a signature, group, chain or chord, not "
            f"{type(canvas).__name__}; use task.s(...)"
        )
        raise CanvasError(msg, path="replace")
    if "chord" in canvas["options"]:
        msg = f"{path}: a canvas that is part of a chord cannot replace a task"
        raise CanvasError(msg, path="replace")
    if canvas["subtask_type"] == "chain" and not canvas["kwargs"]["tasks"]:
        msg = f"{path}: an empty chain cannot replace a task; return a value instead"
        raise CanvasError(msg, path="replace")


def _with_one_end(task: Task[Any, Any], canvas: Any) -> Any:
    """Return a canvas that ends in one task, for others to be linked to it."""
    collect = task.app.tasks["celery.accumulate"].s(index=0)
    if canvas["subtask_type"] == "group":
        return canvas | collect
    if canvas["subtask_type"] == "chain":
        *steps, last = canvas["kwargs"]["tasks"]
        if last["subtask_type"] == "group":
            last = maybe_signature(last, task.app) | collect
            canvas["kwargs"]["tasks"] = [*steps, last]
    return canvas


def _end(canvas: Any) -> Any:
    """Return the signature whose result is the canvas's."""
    while canvas["subtask_type"] in {"chain", "chord"}:
        inner = canvas["kwargs"]
        is_chain = canvas["subtask_type"] == "chain"
        canvas = inner["tasks"][-1] if is_chain else inner["body"]
    return canvas


def hand_over(task: Task[Any, Any], canvas: Any) -> NoReturn:
    """Run or send the canvas that replaces the running task.

    Raises:
        Ignore: It is sent, so that nothing is stored for this run. In place it has run,
            and this run has its value.
    """
    request = task.request
    if request.is_eager:
        # It is raised: users write `raise self.replace(...)` as well as `return`.
        raise Replaced(canvas.apply().get(disable_sync_subtasks=False))
    if request.called_directly:
        canvas.apply_async()
    else:
        request.successors.append(canvas)
    msg = "Replaced by new task"
    raise Ignore(msg)


def extend_chord(task: Task[Any, Any], canvas: Any, *, lazy: bool) -> Any:
    """Send `canvas` as one more member of the header that the running task is in.

    Raises:
        ValueError: The task is in no chord's header.
        ForkError: The chord is counted in the memory of another process.
    """
    request, app = task.request, task.app
    if not request.chord or request.group is None:
        msg = f"task {task.name}[{request.id}] is not member of any chord's header"
        raise ValueError(msg)
    refuse_lost_memory(task)
    canvas.set(
        group_id=request.group,
        group_index=request.group_index,
        chord=request.chord,
        root_id=request.root_id,
    )
    canvas.freeze()
    app.backend.add_to_chord(request.group)
    return canvas if lazy else canvas.apply_async()
