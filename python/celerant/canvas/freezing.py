"""Ids for a group before it is sent."""

from __future__ import annotations

from typing import Any

from celerant._core import Barrier, Roster, unroll
from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.canvas.readable import readable
from celerant.canvas.signature import Signature

__all__ = ["freeze", "leaves"]


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
    tasks = leaves(members, members._app)  # noqa: SLF001 - of the same room
    roster.resize(len(tasks))
    barrier = Barrier()
    barrier.grow(len(tasks))
    frozen = []
    for index, task in enumerate(tasks):
        own = task.options.get("task_id")
        if own and own != roster.id(index):
            roster.adopt(index, own)
        frozen.append(task.clone(task_id=own or roster.id(index)))
        if _is_ignored(task, members, app):
            barrier.arrive(index, Barrier.IGNORED)
    barrier.seal(len(tasks))
    members["kwargs"]["tasks"] = frozen
    members.options.setdefault("task_id", roster.uuid)
    # Sending it again uses the same ids.
    members.seed = seed
    return roster, barrier


def _is_ignored(task: Signature[Any], members: group[Any], app: Any) -> bool:
    said = task.merged_options(members.options).get("ignore_result")
    if said is None and task.task in app.tasks:
        said = app.tasks[task.task].ignore_result
    return bool(said)
