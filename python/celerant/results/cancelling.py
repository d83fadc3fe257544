"""Cancel a group: no more members leave, and those in queues do not run."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant._core import Barrier
from celerant.common.group_stamp import GROUP_STAMP, cancel_mark
from celerant.common.printable import line
from celerant.results.tracking.forms import task_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members

__all__ = ["Cancelled", "cancel"]

logger = logging.getLogger("celerant")

#: How many pending members are read, the oldest first: the running ones are among them.
_LOOKED_AT = 1000
_IDS_CHUNK = 10_000
#: States of running tasks; a task in state RETRY waits in a queue.
_RUNNING = frozenset({"STARTED", "PROGRESS"})


class Cancelled(NamedTuple):
    """How many members were in which state when their group was cancelled."""

    #: Members that were done, successfully or not.
    done: int
    #: Members that were known to run; they still arrive, unless they are terminated.
    running: int
    #: All other members, those that had not left included.
    cancelled: int


def cancel(
    result: GroupResult[Any], *, terminate: bool, signal: str | int | None
) -> Cancelled:
    """Stop a group; see `GroupResult.cancel`."""
    members, backend = result.members, result.backend
    if result.feeding is not None:
        result.feeding.stop("cancel")
    running = frozenset[int]()
    if not members.barrier.is_complete:
        running = _running(members)
        stamps = members.stamps
        if not stamps:
            ids: Iterator[str] = task_ids(members.roster)
            members.is_barred = True
            while chunk := list(islice(ids, _IDS_CHUNK)):
                backend.revoke(chunk, terminate=terminate, signal=signal)
        else:
            _leave_marks(backend, stamps)
            backend.revoke_by_stamped_headers(
                {GROUP_STAMP: [*stamps]}, terminate=terminate, signal=signal
            )
    barrier = members.barrier
    pending, unsent = barrier.remaining, barrier.count(Barrier.NOT_SENT)
    awaited = frozenset() if terminate else running
    members.cancel(awaited)
    return Cancelled(
        len(barrier) - pending - unsent, len(running), pending + unsent - len(running)
    )


def _running(members: Members) -> frozenset[int]:
    """Read the oldest pending members; return those that are known to run."""
    indices = members.barrier.pending(0, _LOOKED_AT)
    backend = members.backend
    try:
        records = backend.fetch(members.roster.select(indices))
        found = {
            index
            for index, record in zip(indices, records, strict=True)
            if record and backend.decode(record).get("status") in _RUNNING
        }
        members.absorb(indices, records)
    except Exception as exc:  # noqa: BLE001 - the group is cancelled in any case
        logger.warning("which members of a cancelled group run is unknown: %s", exc)
        return frozenset()
    return frozenset(found)


def _leave_marks(backend: Backend, stamps: list[str]) -> None:
    """Let workers that start later, or do not hear now, learn of it."""
    if not backend.supports_handles:
        return
    try:
        for stamp in stamps:
            backend.put_aside(cancel_mark(stamp), b"1")
    except Exception as exc:  # noqa: BLE001 - running workers are told in any case
        logger.warning(
            "workers that start later are not told that group %s is cancelled: %s",
            stamps[0],
            line(exc),
        )
