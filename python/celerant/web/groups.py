"""What the page tells of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celerant._core import Barrier
from celerant.common.printable import line
from celerant.results.group_result import GroupResult
from celerant.ui.telling import done_and_failed

__all__ = ["Failure", "Told", "told_of"]

#: Failures that are listed; the counts have all of them.
_MOST = 50


@dataclass(frozen=True, slots=True)
class Failure:
    """A member that failed."""

    index: int
    id: str
    error: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Told:
    """A group, as the page shows it."""

    id: str
    total: int
    done: int
    failed: int
    #: States that some members have, with how many.
    counts: dict[str, int]
    failures: list[Failure]


def told_of(result: GroupResult[Any]) -> Told:
    """Look at a group, and at its first failures."""
    counts = result.counts()
    total, done, failed = done_and_failed(counts)
    indices = result.members.barrier.select(Barrier.FAILURE, 0, _MOST)
    return Told(
        id=result.id,
        total=total,
        done=done,
        failed=failed,
        counts={state: count for state, count in counts.items() if count},
        failures=[_failure(result, index) for index in indices],
    )


def _failure(result: GroupResult[Any], index: int) -> Failure:
    member = result[index]
    raised = member.result
    return Failure(
        index=index,
        id=member.id,
        error=f"{type(raised).__name__}: {line(raised)}",
        traceback=member.traceback or "",
    )
