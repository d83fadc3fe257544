"""Ids for a group before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celerant._core import Barrier, Roster, unroll
from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.canvas.readable import readable
from celerant.canvas.signature import Signature

__all__ = ["freeze", "is_ignored", "leaves"]


def leaves(members: group[Any], app: Any) -> list[Signature[Any]]:
    """Return the members of a group as signatures, left to right, depth first.

    Raises:
        CanvasError: A cycle, too deep, or something that is no member.
    """
    found = unroll(members.tasks, readable())
    return [
        Signature(item[0], item[1], {}, dict(item[2]), app=app)
        if isinstance(item, tuple)
        else maybe_signature(item, app)
        for item in found
    ]


def freeze(members: group[Any], seed: bytes, app: Any) -> tuple[Roster, Barrier]:
    """Give a group and its members the ids of `seed`, in the group's own list.

    The signatures that the caller put in stay as they are: the group holds clones.
    """
    roster = Roster(seed)
    tasks = leaves(members, members.own_app)
    roster.resize(len(tasks))
    barrier = Barrier()
    barrier.grow(len(tasks))
    frozen = []
    for index, task in enumerate(tasks):
        own = task.options.get("task_id")
        if own and own != roster.id(index):
            roster.adopt(index, own)
        frozen.append(task.clone(task_id=own or roster.id(index)))
        if is_ignored(app, task, task.merged_options(members.options)):
            barrier.arrive(index, Barrier.IGNORED)
    barrier.seal(len(tasks))
    members["kwargs"]["tasks"] = frozen
    members.options.setdefault("task_id", roster.uuid)
    # Sending it again uses the same ids.
    members.seed = seed
    return roster, barrier


def is_ignored(app: Any, task: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether a task's result is not stored.

    Args:
        app: The app that has the task.
        task: A signature in any form.
        options: The options it is sent with.
    """
    if "ignore_result" in options or task.get("task") not in app.tasks:
        return bool(options.get("ignore_result"))
    return bool(app.tasks[task["task"]].ignore_result)
