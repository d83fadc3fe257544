"""Sends chains and chords for an app."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from celerant._core import Barrier, Roster
from celerant._core import freeze as core_freeze
from celerant.canvas.chord import chord, without_waiting
from celerant.canvas.data import maybe_signature
from celerant.canvas.readable import readable
from celerant.canvas.send_options import check_canvas, check_options
from celerant.dispatch.interruption import carry
from celerant.errors import CanvasError, NotSent
from celerant.results.group_result import GroupResult
from celerant.results.tracking.forms import form_of, has_groups
from celerant.results.tree import result_from_tuple
from celerant.running.canvas_in_place import run_canvas
from celerant.sending.call import SentCall, new_seed
from celerant.sending.holding import check_held, go_on_as
from celerant.sending.lowering import (
    header_of,
    hold_nested,
    is_ignored,
    lowered,
    lowered_chord,
    results_in,
)
from celerant.sending.resuming_chords import (
    InterruptedChord,
    forget_unsent,
    left_over,
)

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.dispatch.run import Sent
    from celerant.results.tracking.members import Members
    from celerant.sending.holding import Frozen
    from celerant.sending.outgoing import Outgoing

__all__ = ["Canvases"]

logger = logging.getLogger("celerant")

#: Options of a send that are no options of its messages.
_OF_SEND = (
    "add_to_parent",
    "connection",
    "producer",
    "publisher",
    "retry",
    "retry_policy",
)


class Canvases:
    """The door for chains and chords."""

    def __init__(self, app: App, outgoing: Outgoing) -> None:
        self._app = app
        self._outgoing = outgoing
        #: By what the body's result is kept in.
        self._interrupted: weakref.WeakKeyDictionary[Members, InterruptedChord] = (
            weakref.WeakKeyDictionary()
        )

    def send(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        held: Frozen | None = None,
    ) -> Any:
        """Send a chain or chord; see `Canvas.apply_async`."""
        if not isinstance(canvas, chord):
            return self._send_whole(canvas, args, kwargs, options, held)
        canvas.bodied()
        return self._send_chord(canvas, args, kwargs, without_waiting(options), held)

    def run(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> Any:
        """Run a chain or chord in place; see `Canvas.apply`."""
        return run_canvas(self._app, canvas, args, kwargs, options)

    def check(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> None:
        """Refuse what could not be sent later."""
        if isinstance(canvas, chord):
            canvas.bodied()
            options = without_waiting(options)
        check_options(options, canvas.task)
        check_held(self._app, canvas, canvas.task, args, kwargs)

    def _send_whole(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        held: Frozen | None,
    ) -> Any:
        """Send a chain, or a chord whose header is empty."""
        app, outgoing = self._app, self._outgoing
        if app.conf.task_always_eager:
            ran = self.run(canvas, args, kwargs, options)
            return ran if held is None else go_on_as(held.result, ran)
        check_options(options, canvas.task)
        check_canvas(canvas, canvas["subtask_type"])
        of_send = {k: options.pop(k) for k in _OF_SEND if k in options}
        roster = Roster(new_seed(), 1)
        low = lowered(app, canvas, roster, args, kwargs, options, outgoing.reply_to)
        if low.outcome is None:
            return None
        if low.has_chords:
            app.backend.ensure_chords_allowed()
        losses = app.backend.losses
        result = result_from_tuple(low.outcome, app.backend)
        if is_ignored(app, canvas):
            result.settle(Barrier.IGNORED)
        if held is not None:
            result = go_on_as(held.result, result)
        if low.messages:
            call = SentCall(low.messages, (), {}, of_send, losses)
            sent = outgoing.dispatch(
                low.messages,
                Roster(new_seed()),
                call,
                group_id=None,
                before_first=partial(outgoing.announce, low.chord_sizes),
            )
            if sent.error is not None:
                raise self._unsent(result, sent)
        outgoing.add_to_parent(result, of_send)
        return result

    def _send_chord(  # noqa: C901 - a closure for each moment
        self,
        canvas: chord[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        held: Frozen | None,
    ) -> Any:
        """Send a chord's header with its body."""
        app, outgoing = self._app, self._outgoing
        source = header_of(canvas)
        if source is None or app.conf.task_always_eager:
            return self._send_whole(canvas, args, kwargs, options, held)
        hold_nested(source)
        # Nothing but empty groups and chains is an empty header too.
        size = results_in(source)
        if size == 0:
            return self._send_whole(canvas, args, kwargs, options, held)
        check_options(options, "chord")
        # Each member of the header is checked where it is read.
        check_canvas(canvas.body, "chord.chord_body")
        app.backend.ensure_chords_allowed()
        of_send = {k: options.pop(k) for k in _OF_SEND if k in options}
        roster = Roster(new_seed())
        header = lowered_chord(
            app, canvas, Roster(new_seed(), 1), args, kwargs, options, outgoing.reply_to
        )
        call = SentCall(
            source,
            header.args,
            header.kwargs,
            {**header.options, **of_send},
            app.backend.losses,
        )

        is_told = False

        def tell_size() -> None:
            nonlocal is_told
            is_told = True
            if size is not None:
                outgoing.announce([(header.group_id, size, None)])

        parts = size or 0

        def complete_header(results: int) -> None:
            nonlocal parts
            parts = results
            if size is None and parts:
                outgoing.announce([(header.group_id, parts, None)])
            keep_form(results)

        def keep_form(_results: int) -> None:
            if has_groups(roster):
                form = form_of(roster, header.group_id)
                app.backend.save_group(header.group_id, form)

        kept = outgoing.members(roster, call)
        sent = outgoing.dispatch(
            source,
            roster,
            call,
            kept,
            group_id=header.group_id,
            before_first=tell_size,
            before_last=complete_header,
        )
        if sent.error is None and parts == 0:
            # A generator without a task that counts: nobody else would send the body.
            empty: chord[Any] = chord([], canvas.body, app=canvas.own_app)
            empty["options"] = canvas.options
            more = {**options, **of_send}
            return self._send_whole(empty, args, kwargs, more, None)
        members: GroupResult[Any]
        members = GroupResult(header.group_id, kept, report=sent.report)
        result = result_from_tuple(header.outcome, app.backend, parent=members)
        if is_ignored(app, canvas):
            result.settle(Barrier.IGNORED)
        if held is not None:
            result = go_on_as(held.result, result)
        if sent.error is not None:
            call.doubts = sent.doubts
            self._interrupted[result.members] = InterruptedChord(
                source, call, members, None if is_told else tell_size, keep_form
            )
            raise self._unsent(result, sent)
        outgoing.add_to_parent(result, of_send)
        return result

    def resume(
        self,
        canvas: Any,  # noqa: ARG002 - what was sent is kept
        result: Any,
        unknown: Literal["send", "skip"],
    ) -> Any:
        """Send what is left over of a chord's header; see `chord.resume`."""
        of_result = getattr(result, "members", None)
        chord = None if of_result is None else self._interrupted.get(of_result)
        was_doubtful = chord is not None and bool(chord.call.doubts)
        if chord is not None and chord.members.report is not None:
            self._outgoing.find_out(chord.call, result, chord.members.report)
        only = left_over(chord, getattr(result, "id", repr(result)), unknown)
        if chord is None or not (only or was_doubtful):
            return result
        backend = self._app.backend
        forget_unsent(result, backend)
        members = chord.members
        report = members.report
        if not only:
            # The broker had all of it: its body will run.
            chord.keep_form(0)
            result.members.renew()
            return result
        members.members.send_again()
        sent = self._outgoing.dispatch(
            chord.source,
            members.roster,
            chord.call,
            members.members,
            group_id=members.id,
            only=only,
            ledger=None if report is None else report.ledger,
            before_first=chord.tell_size,
            before_last=chord.keep_form,
        )
        members.sent_again(sent.report)
        chord.call.doubts = sent.doubts
        if sent.error is not None:
            raise self._unsent(result, sent)
        result.members.renew()
        return result

    def freeze(self, canvas: Any, options: Mapping[str, Any]) -> Any:
        """Give a chain or chord and all in it their ids; see `Chain.freeze`."""
        if isinstance(canvas, chord):
            canvas.bodied()
        roster = Roster(new_seed(), 1)
        if options.get("task_id") is not None:
            roster.adopt(0, options["task_id"])
        frozen, outcome = core_freeze(
            canvas,
            roster,
            reply_to=self._outgoing.reply_to(True),  # noqa: FBT003 - by position
            readable=readable(),
        )
        try:
            rebuilt = maybe_signature(frozen, canvas.own_app)
        except RecursionError:
            msg = (
                f"{canvas.task}: it is nested too deep to be frozen; send it as it is, "
                "or let a task send a part of it"
            )
            raise CanvasError(msg, path=canvas.task) from None
        canvas.update(kwargs=rebuilt["kwargs"], options=rebuilt["options"])
        return result_from_tuple(outcome, self._app.backend)

    def _unsent(self, result: Any, sent: Sent) -> BaseException:
        """Let nobody wait for the end of what was interrupted; return the error."""
        error = sent.error
        assert error is not None  # noqa: S101 - the caller looked
        result.settle(Barrier.NOT_SENT)
        carry(error, result, sent.report)
        reason = NotSent(f"what leads to it was not sent completely: {error}")
        try:
            # For those that wait elsewhere.
            for task_id in result.task_ids():
                self._app.backend.store_result(task_id, reason, "FAILURE")
        except Exception:  # noqa: BLE001 - the caller is told of what came first
            logger.warning(
                "the results of what was not sent cannot be stored as failed: who "
                "waits for %s in another process waits in vain",
                result.id,
            )
        return error
