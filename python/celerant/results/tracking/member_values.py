"""Read members' states, values and exceptions."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Prints, Roster, Values
from celerant.common.per_process import PerProcess
from celerant.common.printable import line
from celerant.errors import NotSent, ResultExpired, TaskControl
from celerant.results.tracking.exceptions import add_note, rebuild
from celerant.results.tracking.intake import unreadable

if TYPE_CHECKING:
    from celerant.results.tracking.growth import Growth
    from celerant.results.tracking.member_backend import MemberBackend
    from celerant.results.tracking.nested import Nested
    from celerant.results.tracking.survival import Survival

__all__ = ["STATE_NAMES", "MemberValues"]

#: Names of the barrier's states, by their numbers. The first four are Celery's own.
STATE_NAMES = (
    "PENDING",
    "SUCCESS",
    "FAILURE",
    "REVOKED",
    "IGNORED",
    "NOT_SENT",
    "EXPIRED",
)

#: States of members whose tasks have not failed, but that will have no value.
_LOST = (Barrier.NOT_SENT, Barrier.EXPIRED)
_FAILED = (*_LOST, Barrier.FAILURE, Barrier.REVOKED)
#: Held while an exception takes the place of its record.
_keeping = PerProcess(threading.Lock)
#: States of a member that is a group itself and was sent.
_OF_NESTED = (Barrier.PENDING, Barrier.SUCCESS, Barrier.FAILURE)


class MemberValues(ABC):
    """The part of `Members` that hands states and values out."""

    __slots__ = (
        "backend",
        "barrier",
        "cut_short",
        "growth",
        "is_group",
        "path",
        "prints",
        "roster",
        "stamps",
        "stopped_by",
        "survival",
        "unsent",
        "values",
        "were_done",
    )

    def __init__(
        self,
        roster: Roster,
        barrier: Barrier,
        backend: MemberBackend,
        values: list[Any] | None,
        *,
        is_group: bool,
    ) -> None:
        self.roster = roster
        self.barrier = barrier
        self.backend = backend
        #: The values of members that are done. A failure's is its record until its
        #: exception is asked for.
        self.values = Values(values)
        #: Whether they are a group's members, and not one task or a chain's steps.
        self.is_group = is_group
        #: The stamps by which workers may revoke the group; if there are none, its
        #: tasks' ids serve. Members that are sent again have another stamp, because
        #: workers may have revoked the one before.
        self.stamps: list[str] = []
        #: Digests of what the members were sent with; None if these are not known.
        self.prints: Prints | None = None
        #: What its journal wants to know; None if it has none.
        self.survival: Survival | None = None
        #: The group's path, if it is a member of another group.
        self.path = ""
        #: The error that ended the sending early; None if there was none.
        self.cut_short: BaseException | None = None
        #: What stopped the sending before the source's end; None if nothing did.
        self.stopped_by: str | None = None
        #: Tells of more members while another process sends them; None: there are
        #: none, or this process sends them.
        self.growth: Growth | None = None
        #: Why members were not sent; None if the broker did not take them.
        self.unsent: str | None = None
        #: Whether all were done when this view was made, so that a task may wait.
        self.were_done = False

    @property
    @abstractmethod
    def nested(self) -> Nested:
        """Members that are groups themselves."""

    def where(self, index: int) -> str:
        """Return a member's name in errors."""
        return f"member {index}" + (f" of {self.path}" if self.path else "")

    def is_done(self, index: int) -> bool:
        """Whether a member is done, in any state but PENDING."""
        return self.barrier.state(index) != Barrier.PENDING

    def failed_member(self) -> int | None:
        """Return the member whose failure arrived first; None if none failed."""
        first = self.barrier.first_failure
        if first is not None:
            return first
        for state in _LOST:
            if self.barrier.count(state):
                found = self.barrier.select(state, 0, 1)
                if found:
                    return found[0]
        return None

    def has_failed(self) -> bool:
        """Whether a member failed or the sending ended early; O(1)."""
        barrier = self.barrier
        if self.cut_short is not None:
            return True
        return barrier.first_failure is not None or any(map(barrier.count, _LOST))

    def value(self, index: int) -> Any:
        """Return the value of a member that is done, or its exception.

        Raises:
            ResultExpired: The value was forgotten after it was iterated over.
        """
        state = self.barrier.state(index)
        if state == Barrier.SUCCESS:
            kept = self.values.get(index)
            if kept is None and self.values.is_dropped(index):
                raise self._forgotten(self.where(index))
            return kept
        if state in _FAILED:
            return self.exception(index)
        return None

    def control(self, index: int) -> TaskControl | None:
        """Return the control flow that a member raised in place; None if it did not.

        Such a member has no value.
        """
        if self.barrier.state(index) != Barrier.IGNORED:
            return None
        kept = self.values.get(index)
        return kept if isinstance(kept, TaskControl) else None

    def exception(self, index: int) -> BaseException:
        """Return the exception of a member that failed; the same object each time."""
        state = self.barrier.state(index)
        if state in _OF_NESTED and index in self.nested:
            return self.nested.members(index).first_exception()
        kept = self.values.get(index)
        if isinstance(kept, BaseException):
            return kept
        if self.values.is_dropped(index):
            return self._forgotten(self.where(index))
        made: BaseException
        if state == Barrier.NOT_SENT and self.unsent is not None:
            msg = f"{self.where(index)} was not sent: {self.unsent}"
            made = NotSent(msg, group_index=index)
        elif state == Barrier.NOT_SENT and self.cut_short is not None:
            made = NotSent(
                f"{self.where(index)} was not sent: {line(self.cut_short)}",
                group_index=index,
            )
            made.__cause__ = self.cut_short
        elif state == Barrier.NOT_SENT:
            made = NotSent(
                f"{self.where(index)} never reached the broker; "
                "`group(source).resume(result)` sends it under the same id",
                group_index=index,
            )
        elif state == Barrier.EXPIRED:
            made = ResultExpired(
                f"{self.where(index)} has no stored result, and one stored when it was "
                "sent would have expired by now; raise `result_expires` to keep longer"
            )
        else:
            made = self._rebuilt(index, kept, is_revoked=state == Barrier.REVOKED)
        with _keeping.get():
            kept = self.values.get(index)
            if not isinstance(kept, BaseException):
                kept = made
                self.values.set(index, made)
        return kept

    @staticmethod
    def _forgotten(what: str) -> ResultExpired:
        return ResultExpired(
            f"the result of {what} was forgotten after it had come out of "
            "`as_completed(forget=True)`; use it in the body of that loop, or do not "
            "have it forgotten"
        )

    def _rebuilt(self, index: int, kept: Any, *, is_revoked: bool) -> BaseException:
        name = None
        try:
            record = self.backend.decode(kept)
            made = rebuild(record, is_revoked=is_revoked)
            name = record.get("name")
        except Exception as exc:  # noqa: BLE001 - a record may hold anything
            made = unreadable(self.roster.id(index), exc)
        add_note(made, self._which(index, name))
        return made

    def _which(self, index: int, name: Any) -> str:
        """Return a line for tracebacks that tells which task failed."""
        place = f"{self.path or 'group'}[{index}], " if self.is_group else ""
        named = f" ({line(name)})" if isinstance(name, str) else ""
        return f"raised by {place}task {self.roster.id(index)}{named}"

    def first_exception(self) -> BaseException:
        """Return the exception of the member whose failure arrived first.

        If none failed, return the error that ended the sending early.
        """
        failed = self.failed_member()
        if failed is None and self.cut_short is not None:
            return self.cut_short
        assert failed is not None  # noqa: S101 - called only after a failure
        return self.exception(failed)

    def collect(self) -> list[Any]:
        """Return all values in member order; a failed member's is its exception.

        Raises:
            ResultExpired: Values were forgotten after they were iterated over.
        """
        if self.values.dropped:
            raise self._forgotten(f"{self.values.dropped} members")
        values = self.values.list(0, len(self.barrier))
        for state in _FAILED:
            if self.barrier.count(state):
                for index in self.barrier.select(state, 0, len(values)):
                    values[index] = self.exception(index)
        for index in self.barrier.select(Barrier.IGNORED, 0, len(values)):
            values[index] = None
        for index in self.nested:
            if self.barrier.state(index) in _OF_NESTED:
                values[index] = self.nested.members(index).collect()
        return values
