"""What the page tells of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celerant.common.printable import line
from celerant.results.failures import Failure
from celerant.results.group_result import GroupResult
from celerant.results.tracking.exceptions import RemoteTraceback
from celerant.ui.telling import told

__all__ = ["Told", "Way", "told_of"]

#: Ways to fail that are listed, the most frequent first; the counts have all of them.
_MOST = 50


@dataclass(frozen=True, slots=True)
class Way:
    """Failures of one exception at one place."""

    count: int
    error: str
    #: Empty: unknown.
    frame: str
    #: Positions of a few of them in the group.
    members: str
    #: Of the first of them.
    traceback: str


@dataclass(frozen=True, slots=True)
class Told:
    """A group, as the page shows it."""

    id: str
    #: None: more members are being sent.
    total: int | None
    done: int
    failed: int
    #: States that some members have, with how many.
    counts: dict[str, int]
    ways: list[Way]
    #: Ways to fail that are not listed.
    more_ways: int
    #: Whether what failed can be sent once more, if its members are known.
    is_mendable: bool

    @property
    def is_over(self) -> bool:
        """Whether all members are done."""
        return self.done == self.total


def told_of(result: GroupResult[Any]) -> Told:
    """Look at a group, and at its failures."""
    seen = told(result)
    failures = result.failures()
    return Told(
        id=result.id,
        total=seen["total"],
        done=seen["done"],
        failed=seen["failed"],
        counts={state: count for state, count in seen["counts"].items() if count},
        ways=[_way(result, failure) for failure in failures[:_MOST]],
        more_ways=max(0, len(failures) - _MOST),
        is_mendable=bool(result.members.stamps and result.sealed and failures),
    )


def _way(result: GroupResult[Any], failure: Failure) -> Way:
    said = f": {line(failure.message)}" if failure.message else ""
    more = "" if failure.is_listed else ", ..."
    return Way(
        count=failure.count,
        error=f"{failure.exc_type}{said}",
        frame=failure.frame or "",
        members=", ".join(map(str, failure.indices)) + more,
        traceback=_traceback(result, failure.indices[0]),
    )


def _traceback(result: GroupResult[Any], index: int) -> str:
    member: object = result[index]
    if isinstance(member, GroupResult):
        # It ends in a group, and has failed as the first member of that group did.
        cause = result.members.exception(index).__cause__
        return cause.text if isinstance(cause, RemoteTraceback) else ""
    return result[index].traceback or ""
