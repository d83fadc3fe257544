"""Which members of a group may be sent once more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.common.printable import shown
from celerant.errors import CanvasError
from celerant.results.stamped import known_stamps
from celerant.results.tracking.intake import tells_end

if TYPE_CHECKING:
    from celerant.results.group_result import GroupResult

__all__ = [
    "MENDED",
    "chosen",
    "refuse_open",
    "refuse_queued",
    "refuse_running",
    "refuse_unfit",
]

#: By the word that names them, the states of members that are sent once more.
MENDED = {
    "failed": (Barrier.FAILURE,),
    "missing": (Barrier.NOT_SENT, Barrier.REVOKED, Barrier.EXPIRED),
}
_LOOK_CHUNK = 1000


def refuse_open(result: GroupResult[Any]) -> None:
    """Refuse a group that is being sent, or whose tasks workers would drop.

    Raises:
        CanvasError: It is one.
        Exception: The store's own, if another process sends the group.
    """
    members = result.members
    if not members.barrier.is_sealed and members.growth is not None:
        # Another process sends it, and may have come to its end a moment ago.
        members.growth.look(members)
    if not members.barrier.is_sealed:
        msg = (
            f"group {result.id} is still being sent: wait for its end, or cancel it, "
            "before members are sent once more"
        )
        raise CanvasError(msg, path="group")
    if members.is_barred:
        msg = (
            f"group {result.id} was cancelled by the ids of its tasks, which workers "
            "remember for hours: send its members as a new group; one that is sent "
            "with cancellable=True can be mended"
        )
        raise CanvasError(msg, path="group")


def chosen(result: GroupResult[Any], which: Any) -> list[int]:
    """Return the indices that `which` means, ascending, each once.

    Raises:
        CanvasError: It means nothing, or a member that is not there.
    """
    barrier = result.members.barrier
    size = len(barrier)
    if isinstance(which, str):
        states = MENDED.get(which)
        if states is None:
            msg = f"retry takes 'failed', 'missing' or indices, not {which!r}"
            raise CanvasError(msg, path="group")
        return sorted(i for state in states for i in barrier.select(state, 0, size))
    if not isinstance(which, Iterable):
        msg = f"retry takes 'failed', 'missing' or indices, not {shown(which)}"
        raise CanvasError(msg, path="group")
    indices = set(which)
    for index in indices:
        if not isinstance(index, int) or isinstance(index, bool):
            msg = f"retry takes indices of members, not {shown(index)}"
            raise CanvasError(msg, path="group")
        if not 0 <= index < size:
            msg = f"retry: no member {index}: group {result.id} has {size}"
            raise CanvasError(msg, path="group")
    return sorted(indices)


def refuse_unfit(result: GroupResult[Any], indices: list[int]) -> None:
    """Refuse members that may run still, and those that are groups.

    Raises:
        CanvasError: There is one.
    """
    members = result.members
    for index in indices:
        if members.barrier.state(index) == Barrier.PENDING:
            msg = (
                f"{members.where(index)} is not done and may run: wait for it, or "
                "cancel the group, before it is sent once more"
            )
            raise CanvasError(msg, path=f"group[{index}]")
        if index in members.nested:
            msg = (
                f"{members.where(index)} ends in a group and cannot be sent once more "
                "by itself: send it as a new group"
            )
            raise CanvasError(msg, path=f"group[{index}]")


def refuse_running(result: GroupResult[Any], indices: list[int]) -> None:
    """Refuse failed members that another process has sent once more since.

    This one keeps the ends that it has seen; whoever sends members again deletes what
    is stored of them first, and leaves a stamp.

    Raises:
        CanvasError: There is one.
        Exception: The store's own.
    """
    members, backend = result.members, result.backend
    if len(known_stamps(members, backend)) <= 1:
        return
    failed = [i for i in indices if members.barrier.state(i) == Barrier.FAILURE]
    for index in _without_end(result, failed):
        msg = (
            f"{members.where(index)} was sent once more, and nothing is stored of its "
            "end: it may run; wait for it by `attach(result.handle)`"
        )
        raise CanvasError(msg, path=f"group[{index}]")


def refuse_queued(result: GroupResult[Any], indices: list[int]) -> None:
    """Refuse members that were cancelled and whose messages wait in a queue still.

    Whoever finds such a message drops it, and stores that: that would be taken for the
    end of what is sent now. A record that says that the task will run again, or runs,
    is from before that.

    Raises:
        CanvasError: There is one.
    """
    members = result.members
    revoked = [i for i in indices if members.barrier.state(i) == Barrier.REVOKED]
    for index in _without_end(result, revoked):
        if index not in members.unqueued:
            msg = (
                f"{members.where(index)} was cancelled, and no worker has dropped "
                "its message yet: wait until one has, or purge the queue and "
                "send a new group"
            )
            raise CanvasError(msg, path=f"group[{index}]")


def _without_end(result: GroupResult[Any], indices: list[int]) -> Iterator[int]:
    """Yield the members of which the store has no end."""
    roster, backend = result.members.roster, result.backend
    for start in range(0, len(indices), _LOOK_CHUNK):
        chunk = indices[start : start + _LOOK_CHUNK]
        ids = roster.select(chunk)
        for index, task_id, record in zip(chunk, ids, backend.fetch(ids), strict=True):
            if not tells_end(backend, task_id, record):
                yield index
