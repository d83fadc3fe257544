"""Members of a group that are sent once more, under the same ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Fate, Ledger, Prints
from celerant.canvas.group_members import members_of
from celerant.canvas.parts import is_group
from celerant.canvas.source import is_async
from celerant.common.printable import shown
from celerant.errors import CanvasError
from celerant.errors.report import runs_of
from celerant.results.handle import prints_name
from celerant.sending.call import SentCall
from celerant.sending.feeding import Feeder
from celerant.sending.origin import is_kept

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members
    from celerant.sending.feeds import Feeds
    from celerant.sending.indexing import Index
    from celerant.sending.outgoing import Outgoing

__all__ = ["MENDED", "Mending"]

#: By the word that names them, the states of members that are sent once more.
MENDED = {
    "failed": (Barrier.FAILURE,),
    "missing": (Barrier.NOT_SENT, Barrier.REVOKED, Barrier.EXPIRED),
}
_FORGET_CHUNK, _LOOK_CHUNK = 10_000, 1000


class Mending:
    """Sends members once more; see `GroupResult.retry`."""

    def __init__(
        self, app: App, outgoing: Outgoing, feeds: Feeds, index: Index
    ) -> None:
        self._app = app
        self._index = index
        self._outgoing = outgoing
        self._feeds = feeds

    def retry(
        self,
        result: GroupResult[Any],
        which: Any,
        source: Any,
        call: SentCall | None,
    ) -> None:
        """Send some members once more.

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
        _refuse_open(result)
        feeder = result.feeding if isinstance(result.feeding, Feeder) else None
        if feeder is not None:
            feeder.await_end()
        given, call = self._source_of(result, source, call)
        members.look()
        indices = _chosen(result, which)
        if not indices:
            return
        _refuse_unfit(result, indices)
        _refuse_queued(result, indices)
        self._recall(result)
        call.stamp = _next_stamp(members)
        ledger = self._ledger(result, indices)
        ids = iter(members.roster.select(indices))
        size = len(members.barrier)

        def forget() -> None:
            # What is stored comes again, else.
            while chunk := list(islice(ids, _FORGET_CHUNK)):
                result.backend.forget(chunk)
            members.mend(indices)
            is_all = ledger.count(Fate.UNSENT) == len(indices)
            if is_all and len(ledger) == size and is_kept(call.source):
                # Once these are, all of the list was sent.
                members.cut_short = None
                if feeder is not None:
                    feeder.be_whole()

        window = None if feeder is None else feeder.options.window
        most = members.barrier.remaining + len(indices)
        if feeder is not None and window is not None and most > window:
            forget()
            again = self._feeds.feed_again(
                result, feeder, given, ledger, runs_of(indices)
            )
            result.sent_again(again)
            return
        sent = self._outgoing.dispatch(
            given,
            members.roster,
            call,
            members,
            group_id=result.id,
            only=runs_of(indices),
            ledger=ledger,
            before_first=forget,
            is_again=True,
        )
        if call.stamp is not None:
            members.stamps.append(call.stamp)
        result.sent_again(sent.report)
        self._index.note(result, call)
        if sent.error is not None:
            raise sent.error

    def _source_of(
        self, result: GroupResult[Any], source: Any, call: SentCall | None
    ) -> tuple[Any, SentCall]:
        """Return what the members come from, and with what they are sent."""
        if source is None:
            if call is None or not is_kept(call.source):
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
                f"nobody knows any more with what the members of group {result.id} "
                "were sent, so another source would pass for theirs: send a group that "
                "may be mended with window= or cancellable=True"
            )
            raise CanvasError(msg, path="group")
        members.prints.restart()

    @staticmethod
    def _ledger(result: GroupResult[Any], indices: list[int]) -> Ledger:
        """Return the account of the members, of whom these have not left."""
        size, report = len(result.members.barrier), result.report
        ledger = Ledger() if report is None else report.ledger
        known = len(ledger)
        ledger.grow(size)
        if known < size:
            ledger.mark_range(known, size, Fate.CONFIRMED)
        for start, stop in runs_of(indices):
            ledger.mark_range(start, stop, Fate.UNSENT)
        return ledger


def _refuse_open(result: GroupResult[Any]) -> None:
    if not result.members.barrier.is_sealed:
        msg = (
            f"group {result.id} is still being sent: wait for its end, or cancel it, "
            "before members are sent once more"
        )
        raise CanvasError(msg, path="group")
    if result.members.is_barred:
        msg = (
            f"group {result.id} was cancelled by the ids of its tasks, which workers "
            "remember for hours: send its members as a new group; one that is sent "
            "with cancellable=True can be mended"
        )
        raise CanvasError(msg, path="group")


def _refuse_unfit(result: GroupResult[Any], indices: list[int]) -> None:
    """Refuse members that may run still, and those that are groups."""
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


def _refuse_queued(result: GroupResult[Any], indices: list[int]) -> None:
    """Refuse members that were cancelled and whose messages wait in a queue still.

    Whoever finds such a message drops it, and stores that: that would be taken for the
    end of what is sent now.
    """
    members = result.members
    state = members.barrier.state
    revoked = iter([i for i in indices if state(i) == Barrier.REVOKED])
    while chunk := list(islice(revoked, _LOOK_CHUNK)):
        records = result.backend.fetch(members.roster.select(chunk))
        for index, record in zip(chunk, records, strict=True):
            if record is None:
                msg = (
                    f"{members.where(index)} was cancelled, and no worker has dropped "
                    "its message yet: wait until one has, or purge the queue and "
                    "send a new group"
                )
                raise CanvasError(msg, path=f"group[{index}]")


def _chosen(result: GroupResult[Any], which: Any) -> list[int]:
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


def _next_stamp(members: Members) -> str | None:
    stamps = members.stamps
    return f"{stamps[0]}.{len(stamps)}" if stamps else None
