"""Sends chains and chords for an app."""

from __future__ import annotations

import logging
import uuid
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from celerant._core import Barrier, Roster
from celerant._core import freeze as core_freeze
from celerant.canvas.chord import chord, drop_waiting
from celerant.canvas.data import maybe_signature
from celerant.canvas.readable import readable
from celerant.canvas.send_options import check_canvas, check_options
from celerant.context.call import Call
from celerant.dispatch.interruption import carry
from celerant.errors import CanvasError, NotSent
from celerant.results.group_result import GroupResult
from celerant.results.tree import from_line, result_from_tuple
from celerant.running.canvas_in_place import run_canvas
from celerant.sending.call import SentCall, new_seed
from celerant.sending.chord_headers import (
    ChordHeader,
    forget_unsent,
    left_over,
)
from celerant.sending.holding import go_on_as
from celerant.sending.lowering import (
    end_is_ignored,
    header_of,
    hold_nested,
    lowered,
    lowered_chord,
    results_in,
)

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.dispatch.run import Dispatched
    from celerant.results.tracking.members import Members
    from celerant.sending.holding import Frozen
    from celerant.sending.indexing import Index
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


def _seed_of(canvas: chord[Any], group_id: str) -> bytes:
    """Return the seed of the ids of a header: its own id, if that was made for it.

    Then whoever knows the id and the size of the header knows its tasks.
    """
    is_frozen = isinstance(canvas["kwargs"]["header"], dict)
    return new_seed() if is_frozen else uuid.UUID(group_id).bytes


class Canvases:
    """The door for chains and chords."""

    run = staticmethod(run_canvas)

    def __init__(self, app: App, outgoing: Outgoing, index: Index) -> None:
        self._app = app
        self._outgoing = outgoing
        self._index = index
        #: The headers, by the members that keep the body's result.
        self._interrupted: weakref.WeakKeyDictionary[Members, ChordHeader] = (
            weakref.WeakKeyDictionary()
        )

    def check(self, canvas: Any, options: dict[str, Any]) -> str:
        """Refuse a chord without a body, and options that no call has."""
        path: str = canvas.task
        if isinstance(canvas, chord):
            canvas.bodied()
            drop_waiting(options)
            self._index.check()
        check_options(options, path)
        return path

    def send(self, canvas: Any, call: Call, held: Frozen | None = None) -> Any:
        """Send a chain or chord; see `Canvas.apply_async`."""
        if not isinstance(canvas, chord):
            return self._send_whole(canvas, call, held)
        canvas.bodied()
        drop_waiting(call.options)
        self._index.check()
        return self._send_chord(canvas, call, held)

    def _send_whole(self, canvas: Any, call: Call, held: Frozen | None) -> Any:
        """Send a chain, or a chord whose header is empty."""
        app, outgoing = self._app, self._outgoing
        if app.conf.task_always_eager:
            ran = self.run(app, canvas, call)
            return ran if held is None else go_on_as(held.result, ran)
        args, kwargs, options = call
        check_options(options, canvas.task)
        check_canvas(canvas, canvas["subtask_type"])
        of_send = {k: options.pop(k) for k in _OF_SEND if k in options}
        roster = Roster(new_seed(), 1)
        low = lowered(app, canvas, roster, args, kwargs, options, outgoing.reply_to)
        line = low.line
        if line is None:
            return None
        if low.has_chords:
            app.backend.ensure_chords_allowed()
        losses = app.backend.losses
        result = from_line(line, app.backend)
        if end_is_ignored(app, canvas):
            result.settle(Barrier.IGNORED)
        if held is not None:
            result = go_on_as(held.result, result)
        if len(low):
            sent_call = SentCall(low, (), {}, of_send, losses)
            sent = outgoing.dispatch(
                low,
                Roster(new_seed()),
                sent_call,
                group_id=None,
                before_first=partial(outgoing.announce, low.chord_sizes),
            )
            if sent.error is not None:
                raise self._unsent(result, sent)
        outgoing.add_to_parent(_first(result), of_send)
        return result

    def _send_chord(self, canvas: chord[Any], call: Call, held: Frozen | None) -> Any:
        """Send a chord's header with its body."""
        app, outgoing = self._app, self._outgoing
        source = header_of(canvas)
        if source is None or app.conf.task_always_eager:
            return self._send_whole(canvas, call, held)
        hold_nested(source)
        # A header of empty groups and chains alone is empty too.
        size = results_in(source)
        if size == 0:
            return self._send_whole(canvas, call, held)
        args, kwargs, options = call
        check_options(options, "chord")
        # Each member of the header is checked when it is read.
        check_canvas(canvas.body, "chord.chord_body")
        app.backend.ensure_chords_allowed()
        of_send = {k: options.pop(k) for k in _OF_SEND if k in options}
        low = lowered_chord(
            app, canvas, Roster(new_seed(), 1), args, kwargs, options, outgoing.reply_to
        )
        of_header = {**low.options, **of_send}
        losses = app.backend.losses
        sent_call = SentCall(source, low.args, low.kwargs, of_header, losses)
        kept = outgoing.members(Roster(_seed_of(canvas, low.group_id)), sent_call)
        header = ChordHeader(outgoing, kept, low.group_id, sent_call, size)
        sent = header.send()
        if sent.error is None and not header.size:
            # The generator had no task that counts, so nobody else would send the body.
            empty: chord[Any] = chord([], canvas.body, app=canvas.own_app)
            empty["options"] = canvas.options
            whole = Call(args, kwargs, {**options, **of_send})
            return self._send_whole(empty, whole, None)
        members: GroupResult[Any]
        members = GroupResult(low.group_id, kept, report=sent.report)
        self._index.note(members, sent_call)
        result = from_line(low.line, app.backend, parent=members)
        if end_is_ignored(app, canvas):
            result.settle(Barrier.IGNORED)
        if held is not None:
            result = go_on_as(held.result, result)
        if sent.error is not None:
            header.result = members
            self._interrupted[result.members] = header
            raise self._unsent(result, sent)
        outgoing.add_to_parent(_first(result), of_send)
        return result

    def resume(
        self,
        canvas: Any,  # noqa: ARG002 - the sent tasks are kept
        result: Any,
        unknown: Literal["send", "skip"],
    ) -> Any:
        """Send the rest of a chord's header; see `chord.resume`."""
        of_result = getattr(result, "members", None)
        header = None if of_result is None else self._interrupted.get(of_result)
        members = None if header is None else header.result
        report = None if members is None else members.report
        was_doubtful = header is not None and bool(header.call.doubts)
        if header is not None and report is not None:
            self._outgoing.find_out(header.call, result, report)
        only = left_over(header, getattr(result, "id", repr(result)), unknown)
        if header is None or members is None or not (only or was_doubtful):
            return result
        forget_unsent(result, self._app.backend)
        if only:
            members.members.send_again()
            sent = header.send(only, None if report is None else report.ledger)
            members.sent_again(sent.report)
            self._index.note(members, header.call)
            if sent.error is not None:
                raise self._unsent(result, sent)
        else:
            # The broker had all of it: its body will run.
            header.keep_form()
        result.members.renew()
        return result

    def freeze(self, canvas: Any, options: Mapping[str, Any]) -> Any:
        """Give a chain or chord and all in it their ids; see `Chain.freeze`."""
        if isinstance(canvas, chord):
            canvas.bodied()
        roster = Roster(new_seed(), 1)
        if options.get("task_id") is not None:
            roster.adopt(0, options["task_id"])
        frozen = core_freeze(
            canvas,
            roster,
            reply_to=self._outgoing.reply_to(True),  # noqa: FBT003 - by position
            readable=readable(),
        )
        try:
            rebuilt = maybe_signature(frozen.canvas, canvas.own_app)
        except RecursionError:
            msg = (
                f"{canvas.task}: it is nested too deep to be frozen; send it as it is, "
                "or let a task send a part of it"
            )
            raise CanvasError(msg, path=canvas.task) from None
        canvas.update(kwargs=rebuilt["kwargs"], options=rebuilt["options"])
        return result_from_tuple(frozen.form, self._app.backend)

    def _unsent(self, result: Any, sent: Dispatched) -> BaseException:
        """End all waits for an interrupted canvas; return the error."""
        error = sent.error
        assert error is not None  # noqa: S101 - the caller looked
        result.settle(Barrier.NOT_SENT)
        carry(error, result, sent.report)
        reason = NotSent(f"what leads to it was not sent completely: {error}")
        try:
            # For waiters elsewhere.
            for task_id in result.task_ids():
                self._app.backend.store_result(task_id, reason, "FAILURE")
        except Exception:  # noqa: BLE001 - the caller gets the first error
            logger.warning(
                "the results of what was not sent cannot be stored as failed: who "
                "waits for %s in another process waits in vain",
                result.id,
            )
        return error


def _first(result: Any) -> Any:
    """Return the result of what leaves first: a chain's first step, a chord's header.

    As in Celery it is the child of the task that sends; the others are children of
    each other.
    """
    # Of an empty header nothing leaves.
    while result.parent is not None and getattr(result.parent, "size", True):
        result = result.parent
    return result
