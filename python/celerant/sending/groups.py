"""Sends groups for an app."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from celerant._core import Fate, Ledger, Prints, Roster
from celerant.canvas.feed_options import take_feed_options
from celerant.canvas.freezing import freeze
from celerant.canvas.send_options import check_links, check_options
from celerant.canvas.source import is_async
from celerant.dispatch.interruption import carry, is_interruption
from celerant.errors import CanvasError
from celerant.errors.report import Report
from celerant.results.group_result import GroupResult
from celerant.results.tracking.members import Members
from celerant.running.in_place import run_group
from celerant.sending.call import SentCall, new_seed, to_resend
from celerant.sending.feeding import Feeder
from celerant.sending.feeds import Feeds
from celerant.sending.indexing import Index
from celerant.sending.mending import Mending
from celerant.sending.origin import check_origin
from celerant.sending.surviving import Surviving, end_of, kept_journal, settle_known

if TYPE_CHECKING:
    from celerant.canvas.group import group
    from celerant.context.call import Call
    from celerant.context.host import App
    from celerant.dispatch.run import Dispatched
    from celerant.sending.holding import Frozen
    from celerant.sending.outgoing import Outgoing

__all__ = ["Groups"]

_REFUSED = {
    "link": "Cannot add link to group: use a chord",
    "link_error": "Cannot add link to group: do that on individual tasks",
}


class Groups:
    """The door for groups."""

    run = staticmethod(run_group)

    def __init__(self, app: App, outgoing: Outgoing, index: Index) -> None:
        self._app = app
        self._outgoing = outgoing
        self._index = index
        #: The calls of the groups of results, for `resume`.
        self._calls: weakref.WeakKeyDictionary[GroupResult[Any], SentCall] = (
            weakref.WeakKeyDictionary()
        )
        #: The same of groups that left and may be mended, for `retry`.
        self._mendable: weakref.WeakKeyDictionary[GroupResult[Any], SentCall] = (
            weakref.WeakKeyDictionary()
        )
        self._surviving = Surviving(app, outgoing)
        self._feeds = Feeds(app, outgoing, index, self._surviving)
        self._mending = Mending(app, outgoing, self._feeds, index)

    def check(self, members: group[Any], options: dict[str, Any]) -> str:  # noqa: ARG002 - as others
        """Refuse options that no group has; return the path of the group."""
        options = dict(options)
        take_feed_options(options)
        for name, why in _REFUSED.items():
            if options.get(name) is not None:
                raise TypeError(why)
        check_options(options, "group")
        self._index.check()
        return "group"

    def send(
        self, members: group[Any], call: Call, held: Frozen | None = None
    ) -> GroupResult[Any]:
        """Send a group; see `group.apply_async`."""
        feed_options = take_feed_options(call.options)
        self.check(members, call.options)
        app, outgoing = self._app, self._outgoing
        result: GroupResult[Any]
        if app.conf.task_always_eager:
            ran = self.run(app, members, call)
            return ran if held is None else held.result.go_on_as(ran)
        merged = members.merged_options(call.options)
        check_links(merged, "group")
        source = members["kwargs"]["tasks"]
        if is_async(source):
            # It is fed, so another process may cancel it while members leave.
            feed_options = feed_options._replace(cancellable=True)
        given = source if held is None else held.origin["kwargs"]["tasks"]
        sent_call = SentCall(given, call.args, call.kwargs, merged, app.backend.losses)
        if held is None:
            kept = outgoing.members(Roster(members.seed or new_seed()), sent_call)
        else:
            kept = held.result.members
            kept.send_held(sent_call.losses)
        roster = kept.roster
        group_id = merged.pop("task_id", None) or roster.uuid
        if feed_options.stamps:
            sent_call.stamp = group_id
            kept.stamps, kept.prints = [group_id], Prints()
        if feed_options.journal:
            sent_call.journal = self._surviving.begin(
                feed_options.journal, feed_options, kept, group_id, source, sent_call
            )
        result = GroupResult(group_id, kept) if held is None else held.result
        if feed_options.feeds or is_async(source):
            with kept_journal(sent_call):
                self._feeds.begin(result, source, sent_call, feed_options)
            self._index.note(result, sent_call)
            return result
        ledger = Ledger()
        with self._telling(result, sent_call, ledger):
            with kept_journal(sent_call):
                sent = outgoing.dispatch(
                    source, roster, sent_call, kept, group_id=group_id, ledger=ledger
                )
            result.report = sent.report
            end_of(sent_call, sent)
            self._refuse_unsent(sent, result, sent_call)
            if feed_options.stamps:
                # It may be mended.
                self._mendable[result] = sent_call
            if held is None:
                result = result.lone()
            self._index.note(result, sent_call)
            outgoing.add_to_parent(result, call.options)
        return result

    @contextmanager
    def _telling(
        self, result: GroupResult[Any], call: SentCall, ledger: Ledger
    ) -> Iterator[None]:
        """Tell an interruption that comes when all is decided what has left."""
        try:
            yield
        except BaseException as exc:
            is_told = getattr(exc, "report", None) is not None
            has_left = ledger.count(Fate.UNSENT) < len(ledger)
            if has_left and not is_told and is_interruption(exc):
                result.report = result.report or Report(ledger)
                carry(exc, result, result.report)
                self._calls[result] = call
            raise

    def close(self) -> None:
        """Feed no group any more."""
        self._feeds.close()

    def freeze(
        self, members: group[Any], options: Mapping[str, Any]
    ) -> GroupResult[Any]:
        """Give a group and its members their ids; see `group.freeze`."""
        members.options.update(options)
        # If they are frozen again, they keep them.
        roster, barrier = freeze(members, members.seed or new_seed(), self._app)
        kept = Members(roster, self._app.backend, barrier=barrier, is_group=True)
        return GroupResult(members.options["task_id"], kept)

    def resume(
        self,
        members: group[Any],
        result: GroupResult[Any] | str | os.PathLike[str],
        unknown: Literal["send", "skip"],
    ) -> GroupResult[Any]:
        """Send the rest of an interrupted dispatch; see `group.resume`."""
        if not isinstance(result, GroupResult):
            return self._take_up(members, result, unknown)
        if isinstance(result.feeding, Feeder):
            source = members["kwargs"]["tasks"]
            self._feeds.go_on(source, result, result.feeding, unknown)
            return result
        call, report = self._calls.get(result), result.report
        if report is None or (call is None and not report.complete):
            msg = (
                f"result {result.id} is of no dispatch of this app in this process; "
                "resume takes what PublishError.result is"
            )
            raise CanvasError(msg, path="group")
        source = members["kwargs"]["tasks"]
        if isinstance(source, (list, tuple)):
            check_origin(source, result, call, members.id)
        elif call is not None:
            msg = (
                "a group made from a generator or by group.map cannot be resumed: its "
                "members are gone; send what the report calls unsent as a new group"
            )
            raise CanvasError(msg, path="group")
        if call is not None and call.is_short:
            msg = (
                "members of this group were left out, for their own apply_async sent "
                "nothing: send what the report calls unsent as a new group"
            )
            raise CanvasError(msg, path="group")
        if call is not None:
            self._outgoing.find_out(call, result, report)
        only = to_resend(report, unknown)
        if call is None or not only:
            return result
        self._surviving.again(call, report, only)
        result.members.send_again()
        sent = self._outgoing.dispatch(
            source,
            result.roster,
            call,
            result.members,
            group_id=result.id,
            only=only,
            ledger=report.ledger,
        )
        result.sent_again(sent.report)
        end_of(call, sent)
        self._refuse_unsent(sent, result, call)
        self._index.note(result, call)
        return result

    def _take_up(
        self,
        members: group[Any],
        given: str | os.PathLike[str],
        unknown: Literal["send", "skip"],
    ) -> GroupResult[Any]:
        """Send the rest of a group that another process began to send."""
        taken = self._surviving.take_up(members, given, unknown)
        result, call, options, resumed, ledger, _ = taken
        source = members["kwargs"]["tasks"]
        is_fed = options.feeds or is_async(source)
        self._index.check()
        with kept_journal(call, discards=False):
            if is_fed:
                self._feeds.take_up(taken, source)
            else:
                sent = self._outgoing.dispatch(
                    source,
                    result.roster,
                    call,
                    result.members,
                    group_id=result.id,
                    ledger=ledger,
                    resumed=resumed,
                )
        if is_fed:
            self._index.note(result, call)
            return result
        result.report = sent.report
        settle_known(taken)
        end_of(call, sent)
        self._refuse_unsent(sent, result, call)
        self._index.note(result, call)
        if options.stamps:
            self._mendable[result] = call
        return result

    def retry(self, result: GroupResult[Any], which: Any, source: Any) -> None:
        """Send members once more; see `GroupResult.retry`."""
        feeder = result.feeding
        if isinstance(feeder, Feeder):
            call: SentCall | None = feeder.call
        else:
            call = self._mendable.get(result)
        with self._mending.turn(result):
            self._mending.retry(result, which, source, call)

    def _refuse_unsent(
        self, sent: Dispatched, result: GroupResult[Any], call: SentCall
    ) -> None:
        """Raise what stopped a dispatch, if something did; `resume` can go on then."""
        error = sent.error
        if error is None:
            return
        carry(error, result, result.report)
        call.doubts = sent.doubts
        self._calls[result] = call
        self._index.note(result, call)
        raise error
