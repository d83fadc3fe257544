"""Cancel a group: no more members leave, and those in queues do not run."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant._core import Barrier
from celerant.common.group_stamp import GROUP_STAMP, cancel_mark
from celerant.common.printable import line
from celerant.results.stamped import known_stamps
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


#: States of members of which no task is left that may run.
_ENDED = (Barrier.SUCCESS, Barrier.FAILURE, Barrier.NOT_SENT)
#: States of members that are not waited for, although their tasks may run.
_UNKNOWN = (Barrier.IGNORED, Barrier.EXPIRED)


class Cancelled(NamedTuple):
    """How many members were in which state when their group was cancelled.

    The three numbers add up to the size of the group.
    """

    #: Members that were done, successfully or not.
    done: int
    #: Members that were known to run; they still arrive, unless they are terminated.
    running: int
    #: All other members. Among them are members that had not left, and members whose
    #: result is ignored or has expired: nobody knows whether these have run.
    cancelled: int


def cancel(
    result: GroupResult[Any], *, terminate: bool, signal: str | int | None
) -> Cancelled:
    """Stop a group; see `GroupResult.cancel`."""
    members, backend = result.members, result.backend
    if result.feeding is not None:
        result.feeding.stop("cancel")
    running = frozenset[int]()
    known = len(members.stamps)
    stamps = _all_stamps(members, backend)
    # What another process has sent once more may run, although all are done here.
    if _may_run(members) or len(stamps) > known:
        running = _running(members)
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
    cancelled = _count(members, running)
    members.cancel(frozenset() if terminate else running)
    return cancelled


def _may_run(members: Members) -> bool:
    """Return whether workers may have tasks of the group, or may get some.

    They may although all members are done here: if results are ignored or have expired,
    or if the group was cancelled and its tasks are to be terminated now.
    """
    barrier = members.barrier
    if not barrier.is_complete:
        return True
    ended = sum(map(barrier.count, _ENDED))
    return ended < len(barrier) and not members.ran_here


def _count(members: Members, running: frozenset[int]) -> Cancelled:
    """Count the members, of which `running` were known to run a moment ago."""
    barrier = members.barrier
    counts = barrier.counts()
    size = sum(counts)
    others = sum(counts[state] for state in (Barrier.PENDING, Barrier.NOT_SENT))
    others += sum(counts[state] for state in _UNKNOWN)
    # Counted last: a member that has arrived since is among the pending ones above,
    # so there are never more running ones than pending ones.
    left = sum(barrier.state(index) == Barrier.PENDING for index in running)
    return Cancelled(size - others, left, others - left)


def _running(members: Members) -> frozenset[int]:
    """Read the oldest pending members; return those that are known to run."""
    indices = members.barrier.pending(0, _LOOKED_AT)
    if not indices:
        return frozenset()
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


def _all_stamps(members: Members, backend: Backend) -> list[str]:
    """Return the stamps of the group, those of members that others have sent again."""
    try:
        return known_stamps(members, backend)
    except Exception as exc:  # noqa: BLE001 - what is known here is cancelled in any case
        logger.warning(
            "whether another process has sent members of cancelled group %s once more "
            "is unknown: %s",
            members.stamps[0],
            line(exc),
        )
        return members.stamps


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
