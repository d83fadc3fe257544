"""Groups that are fed: begun, gone on with, and ended with their app."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from celerant._core import Fate, Ledger, unroll
from celerant.canvas.readable import readable
from celerant.canvas.source import Mapped, stream_in
from celerant.dispatch.journaling import MOST
from celerant.errors import CanvasError, SettingError
from celerant.sending.breaker import Breaker
from celerant.sending.call import to_resend
from celerant.sending.caught import Caught
from celerant.sending.feeding import Feeder
from celerant.sending.origin import check_origin, is_kept
from celerant.sending.surviving import settle_known

if TYPE_CHECKING:
    from celerant.canvas.feed_options import FeedOptions
    from celerant.context.host import App
    from celerant.errors.report import Report
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members
    from celerant.sending.call import SentCall
    from celerant.sending.indexing import Index
    from celerant.sending.outgoing import Outgoing
    from celerant.sending.surviving import Surviving, TakenUp

__all__ = ["Feeds"]

#: What has stopped a group that had too many failures.
_BROKEN = ("canary", "stop_if")


class Feeds:
    """The groups that an app feeds."""

    def __init__(
        self, app: App, outgoing: Outgoing, index: Index, surviving: Surviving
    ) -> None:
        self._app = app
        self._outgoing = outgoing
        self._index = index
        self._surviving = surviving
        self._feeders: weakref.WeakSet[Feeder] = weakref.WeakSet()

    def close(self) -> None:
        """Feed no group any more."""
        for feeder in tuple(self._feeders):
            feeder.close()

    def begin(
        self,
        result: GroupResult[Any],
        source: Any,
        call: SentCall,
        options: FeedOptions,
    ) -> None:
        """Send a group by and by, from a thread of its own.

        Raises:
            SettingError: Options that this group cannot have; nothing is sent.
            CanvasError: The source is gone; nothing is sent.
        """
        members, outgoing = result.members, self._outgoing
        try:
            stream = stream_in(source)
            if stream is not None:
                stream.check()
            if options.feeds:
                self._refuse_unheard(source, call.options)
            breaker = None
            if options.canary is not None or options.stop_if is not None:
                canary = _canary_of(source, options.canary)
                breaker = Breaker(members, canary, options.stop_if or 0)
            feeder = Feeder(members, options, call, breaker)
            source, caught = Caught.of(source)
            fed = outgoing.feed(source, call, members, feeder, group_id=result.id)
        except BaseException:
            members.abandon()
            raise
        result.feeding, result.report = feeder, fed.report
        self._feeders.add(feeder)
        feeder.at_end = self._index.at_end(result, call)
        feeder.begin(fed, outgoing.open_for_feeding(), caught)

    def go_on(
        self,
        source: Any,
        result: GroupResult[Any],
        feeder: Feeder,
        unknown: Literal["send", "skip"],
    ) -> None:
        """Feed what is left over of a group that was stopped; see `group.resume`.

        Raises:
            CanvasError: Another group's source, or one that is gone; or members are
                being sent once more.
        """
        call, report = feeder.call, result.report
        assert report is not None  # noqa: S101 - of a group that was fed
        if not feeder.is_over:
            if not feeder.sends_again:
                return
            msg = (
                f"members of group {result.id} are being sent once more: resume it "
                "when they have left and there is room in its window"
            )
            raise CanvasError(msg, path="group")
        if feeder.stopped_by == "cancel":
            msg = (
                f"group {result.id} was cancelled, and workers know it: send its "
                "members again with `result.retry`"
            )
            raise CanvasError(msg, path="group")
        if is_kept(source) or not feeder.is_torn:
            # Its thread may still note its end.
            feeder.await_end()
        outgoing, members = self._outgoing, result.members
        size = check_origin(source, result, call) if is_kept(source) else 0
        outgoing.find_out(call, result, report)
        fed = None
        if is_kept(source):
            report.ledger.grow(size)
            only = to_resend(report, unknown)
            if not only:
                return
            self._surviving.again(call, report, only)
            members.send_again()
            members.grow(size)
            members.roster.resize(size)
            fed = outgoing.feed(
                source,
                call,
                members,
                feeder,
                group_id=result.id,
                only=only,
                ledger=report.ledger,
            )
        elif report.complete and feeder.is_read:
            return
        elif stream_in(source) is not stream_in(call.source) or not feeder.can_go_on:
            msg = (
                f"group {result.id} cannot go on: its source is a generator, of which "
                "some members were read and have not left; send what the report calls "
                "unsent as a new group"
            )
            raise CanvasError(msg, path="group")
        else:
            self._surviving.again(call, report, [(report.total, MOST)])
            members.send_again()
        canary = 0
        if feeder.breaker is not None and feeder.stopped_by not in _BROKEN:
            left = report.total - report.ledger.count(Fate.UNSENT)
            canary = feeder.breaker.canary if left <= feeder.breaker.canary else 0
        breaker = _breaker_anew(members, feeder.options, canary)
        self._feeders.add(feeder)
        # The handle of the part that had left is not the whole's.
        result.sent_again(report)
        feeder.at_end = self._index.at_end(result, call)
        again = feeder.go_on(fed, outgoing.open_for_feeding(), breaker, feeder.caught)
        result.sent_again(again)

    def take_up(self, taken: TakenUp, source: Any) -> None:
        """Go on with a group that another process fed.

        Raises:
            SettingError, CanvasError: As `begin`; or the source is another.
            PublishError: No broker answers. Nothing is sent.
        """
        result, call, options, resumed, ledger, _ = taken
        outgoing, members = self._outgoing, result.members
        if options.feeds:
            self._refuse_unheard(source, call.options)
        feeder = Feeder(members, options, call)
        source, caught = Caught.of(source)
        fed = outgoing.feed(
            source,
            call,
            members,
            feeder,
            group_id=result.id,
            ledger=ledger,
            resumed=resumed,
        )
        carriers = outgoing.open_for_feeding()
        try:
            fed.catch_up(carriers)
        except CanvasError as exc:
            if caught is not None and caught.error is not None:
                raise exc from caught.error
            raise
        settle_known(taken)
        if options.canary is not None or options.stop_if is not None:
            # Failures from before are no news.
            members.look()
        canary = 0
        if (taken.past.end or {}).get("end") not in _BROKEN:
            size = _size_of(call.source) or taken.past.head.get("size") or 0
            canary = _canary_after(options, resumed.known, size)
        feeder.breaker = _breaker_anew(members, options, canary)
        result.feeding, result.report = feeder, fed.report
        self._feeders.add(feeder)
        feeder.at_end = self._index.at_end(result, call)
        if members.survival is not None and members.survival.has_handle:
            # Whoever attached a handle of the sender before follows this one.
            feeder.announce(result.id, outgoing.backend)
        feeder.begin(fed, carriers, caught)

    def feed_again(
        self,
        result: GroupResult[Any],
        feeder: Feeder,
        source: Any,
        ledger: Ledger,
        only: list[tuple[int, int]],
    ) -> Report:
        """Feed some members once more; see `GroupResult.retry`."""
        source, caught = Caught.of(source)
        outgoing, members = self._outgoing, result.members
        call = feeder.call
        fed = outgoing.feed(
            source,
            call,
            members,
            feeder,
            group_id=result.id,
            only=only,
            ledger=ledger,
            is_again=True,
        )
        self._feeders.add(feeder)
        feeder.at_end = self._index.at_end(result, call)
        carriers = outgoing.open_for_feeding()
        return feeder.go_on(fed, carriers, None, caught, is_again=True)

    def _refuse_unheard(self, source: Any, options: Mapping[str, Any]) -> None:
        """Refuse to go by results for a group of whose members none would be heard.

        Raises:
            SettingError: Their results are ignored, or nobody stores them.
        """
        app = self._app
        why = None
        ignored = options.get("ignore_result")
        task = app.tasks.get(source.task) if isinstance(source, Mapped) else None
        if ignored is None and task is not None:
            ignored = task.ignore_result
        if not app.backend.has_results:
            why = "this app stores no results: set result_backend"
        elif ignored:
            why = "their results are ignored"
        if why is not None:
            msg = (
                "group: a window, a canary and stop_if need the members' results, and "
                f"{why}"
            )
            raise SettingError(msg, name="window", path="group")


def _breaker_anew(
    members: Members, options: FeedOptions, canary: int
) -> Breaker | None:
    """Return what counts failures from now on, if they are to be counted.

    Args:
        members: Of the group.
        options: Its own.
        canary: How many members its canary has, if that was not done: then failures
            from before count, too. Else 0.
    """
    if options.canary is None and options.stop_if is None:
        return None
    return Breaker(members, canary, options.stop_if or 0, counts_all=canary > 0)


def _canary_after(options: FeedOptions, known: int, size: int) -> int:
    """Return how many members the canary has of a group that another process began.

    Args:
        options: The group's.
        known: How many members may have left.
        size: How many the list has.

    Returns:
        0 if more than the canary has left: it was done.
    """
    canary = options.canary or 0
    if isinstance(canary, float):
        canary = max(1, int(size * canary))
    return canary if known <= canary else 0


def _canary_of(source: Any, canary: float | None) -> int:
    """Return how many members leave first.

    Raises:
        SettingError: More than there are, or a share of nobody knows how many.
    """
    if canary is None:
        return 0
    size = _size_of(source)
    if size is None:
        if isinstance(canary, float):
            msg = (
                f"group: a canary of {canary} is a share of a list; of a generator "
                "nobody knows the length: give a number of members"
            )
            raise SettingError(msg, name="canary", path="group")
        # Only the thread that sends reads it: if it has fewer, all are the canary.
        return canary
    if isinstance(canary, float):
        return max(1, int(size * canary))
    if size < canary:
        msg = (
            f"group: a canary of {canary} is more than the group's {size} members; "
            "send it without"
        )
        raise SettingError(msg, name="canary", path="group")
    return canary


def _size_of(source: Any) -> int | None:
    """Return how many members there are; None if that is known at their end."""
    if stream_in(source) is not None:
        return None
    if isinstance(source, Mapped) and source.size is not None:
        return source.size
    return len(unroll(source, readable()))
