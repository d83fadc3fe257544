"""Members of a group that are sent once more, under the same ids."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Fate, Ledger, Prints
from celerant.canvas.group_members import members_of
from celerant.canvas.parts import is_group
from celerant.canvas.source import is_async
from celerant.common.per_process import PerProcess
from celerant.errors import CanvasError
from celerant.errors.report import Report, runs_of
from celerant.results.handle import prints_name
from celerant.results.saving import forget_records
from celerant.results.stamped import keep_stamp, next_stamp
from celerant.results.tracking.forms import member_tasks
from celerant.sending.call import SentCall
from celerant.sending.feeding import Feeder
from celerant.sending.mendable import (
    MENDED,
    chosen,
    refuse_open,
    refuse_queued,
    refuse_running,
    refuse_unfit,
)
from celerant.sending.origin import is_kept
from celerant.sending.rereading import checked

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.errors.report import Intervals
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members
    from celerant.sending.feeds import Feeds
    from celerant.sending.indexing import Index
    from celerant.sending.outgoing import Outgoing

__all__ = ["MENDED", "Mending"]

_FATES = (Fate.CONFIRMED, Fate.REJECTED, Fate.UNKNOWN, Fate.UNSENT)
_CHUNK = 1000


class Mending:
    """Sends members once more; see `GroupResult.retry`."""

    def __init__(
        self, app: App, outgoing: Outgoing, feeds: Feeds, index: Index
    ) -> None:
        self._app = app
        self._index = index
        self._outgoing = outgoing
        self._feeds = feeds
        #: Held by whoever sends members of a group once more: another waits, and then
        #: sees that they run. Reentrant, for a source may do so.
        self._turns: weakref.WeakKeyDictionary[Members, PerProcess[Any]] = (
            weakref.WeakKeyDictionary()
        )

    def turn(self, result: GroupResult[Any]) -> Any:
        """Return the lock of a group, which is held for `retry`."""
        turns = self._turns.setdefault(result.members, PerProcess(threading.RLock))
        return turns.get()

    def retry(
        self,
        result: GroupResult[Any],
        which: Any,
        source: Any,
        call: SentCall | None,
    ) -> None:
        """Send some members once more; the caller has the group's `turn`.

        Args:
            result: Of the group.
            which: See `GroupResult.retry`.
            source: The members as they were sent, all of them; None: as they are kept.
            call: With what it was sent; None: from another process.
        Raises:
            CanvasError: Another source, or none; members that may run. Nothing is sent.
            PublishError: The broker refused or vanished.
        """
        members = result.members
        refuse_open(result)
        feeder = result.feeding if isinstance(result.feeding, Feeder) else None
        if feeder is not None:
            feeder.await_end()
        given, call = self._source_of(result, source, call)
        members.look()
        indices = chosen(result, which)
        if not indices:
            return
        refuse_unfit(result, indices)
        refuse_running(result, indices)
        refuse_queued(result, indices)
        self._recall(result)
        given = checked(self._outgoing, result, given, call, indices)
        mend = _Mend(result, call, feeder, indices)
        window = None if feeder is None else feeder.options.window
        most = members.barrier.remaining + len(indices)
        if feeder is not None and window is not None and most > window:
            mend.begin()
            again = self._feeds.feed_again(
                result, feeder, given, mend.ledger, runs_of(indices)
            )
            result.sent_again(again)
            return
        again_call = copy(call)
        again_call.stamp = mend.stamp
        sent = self._outgoing.dispatch(
            given,
            members.roster,
            again_call,
            members,
            group_id=result.id,
            only=runs_of(indices),
            ledger=mend.working,
            before_first=mend.begin,
            is_again=True,
        )
        if mend.has_begun:
            call.tasks = again_call.tasks
            result.sent_again(Report(mend.end(), sent.report.maybe_double))
            self._index.note(result, call)
        if sent.error is not None:
            raise sent.error

    def _source_of(
        self, result: GroupResult[Any], source: Any, call: SentCall | None
    ) -> tuple[Any, SentCall]:
        """Return what the members come from, and with what they are sent."""
        if source is None:
            if call is None or not is_kept(call.source):
                # If another source would be refused, it is not asked for.
                self._recall(result)
                msg = (
                    f"the members of group {result.id} are not kept here: give them "
                    "once more, as retry(..., source=)"
                )
                raise CanvasError(msg, path="group")
            return call.source, call
        options: Mapping[str, Any] = {}
        if isinstance(source, dict) and is_group(source):
            options = source.get("options") or {}
            source = source["kwargs"]["tasks"]
        else:
            source = members_of((source,))
        if is_async(source):
            msg = "retry cannot read an async iterable: give a list or a generator"
            raise CanvasError(msg, path="group")
        if call is None:
            call = SentCall(source, (), {}, {**options}, self._app.backend.losses)
        return source, call

    def _recall(self, result: GroupResult[Any]) -> None:
        """Find what members were sent with, or refuse to send any.

        Raises:
            CanvasError: Nobody knows it.
        """
        members, backend = result.members, result.backend
        if members.prints is None and backend.supports_handles:
            packed = backend.take_aside(prints_name(members.roster.uuid))
            members.prints = None if packed is None else Prints.unpack(packed)
        if members.prints is None:
            msg = (
                f"group {result.id} was sent without window= or cancellable=True, or "
                "has expired: nothing shows whether a source is the one that was sent; "
                "send its failed members as a new group, by the indices of those that "
                "failed()"
            )
            raise CanvasError(msg, path="group")
        members.prints.restart()


class _Mend:
    """What a group knows of its members, and what becomes of that as some leave again.

    Nothing is changed before the first of them leaves: until then the sending may be
    refused.

    Args:
        result: Of the group.
        call: With what it was sent.
        feeder: Has fed it; None: nobody has.
        indices: The members that leave, ascending.
    """

    def __init__(
        self,
        result: GroupResult[Any],
        call: SentCall,
        feeder: Feeder | None,
        indices: list[int],
    ) -> None:
        self._result = result
        self._call = call
        self._feeder = feeder
        self._indices = indices
        self.stamp = next_stamp(result.members)
        #: Of all members.
        self.ledger = _account_of(result)
        #: A copy, in which members have not left that are to leave.
        self.working = _copied(self.ledger)
        self._mark(self.working)
        self.has_begun = False

    def begin(self) -> None:
        """Delete what is stored of the members, and wait for them; then they may leave.

        Raises:
            Exception: The store's own. They must not leave.
        """
        members, backend = self._result.members, self._result.backend
        stamps = members.stamps
        if self.stamp is not None:
            # Before a message bears it: whoever cancels the group names it from now on.
            stamps = keep_stamp(members, backend, self.stamp)
        # What is stored comes again, else.
        forget_records(backend, _tasks_of(members, self._indices))
        members.mend(self._indices)
        members.stamps, self._call.stamp = stamps, self.stamp
        self._mark(self.ledger)
        self.has_begun = True
        ledger = self.ledger
        is_all = ledger.count(Fate.UNSENT) == len(self._indices)
        size = len(members.barrier)
        if is_all and len(ledger) == size and is_kept(self._call.source):
            # Once these are, all of the list was sent.
            members.cut_short = None
            if self._feeder is not None:
                self._feeder.be_whole()

    def end(self) -> Ledger:
        """Take over what became of the members; return the account of all."""
        for fate in _FATES:
            told = self.working.intervals(fate)
            for start, stop in _shared(told, runs_of(self._indices)):
                self.ledger.mark_range(start, stop, fate)
        return self.ledger

    def _mark(self, ledger: Ledger) -> None:
        for start, stop in runs_of(self._indices):
            ledger.mark_range(start, stop, Fate.UNSENT)


def _account_of(result: GroupResult[Any]) -> Ledger:
    """Return the account of all members.

    Those that it does not know have left, unless their states say that they have not.
    """
    barrier, report = result.members.barrier, result.report
    ledger = Ledger() if report is None else report.ledger
    known, size = len(ledger), len(barrier)
    if known < size:
        ledger.grow(size)
        ledger.mark_range(known, size, Fate.CONFIRMED)
        for start, stop in runs_of(barrier.select(Barrier.NOT_SENT, known, size)):
            ledger.mark_range(start, stop, Fate.UNSENT)
    return ledger


def _copied(ledger: Ledger) -> Ledger:
    made = Ledger()
    made.grow(len(ledger))
    for fate in _FATES:
        for start, stop in ledger.intervals(fate):
            made.mark_range(start, stop, fate)
    return made


def _shared(one: Intervals, other: Intervals) -> Iterator[tuple[int, int]]:
    """Yield what is in both; each has its ranges in order."""
    rest = iter(other)
    current = next(rest, None)
    for start, stop in one:
        while current is not None and current[0] < stop:
            first, last = max(start, current[0]), min(stop, current[1])
            if first < last:
                yield first, last
            if current[1] > stop:
                break
            current = next(rest, None)


def _tasks_of(members: Members, indices: list[int]) -> Iterator[str]:
    """Yield the ids of members, with those of the steps before them."""
    for start in range(0, len(indices), _CHUNK):
        yield from member_tasks(members.roster, indices[start : start + _CHUNK])
