"""Sends canvases for an app: the way out, joined with the results it will have."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from kombu.common import oid_from

from celerant._core import Ledger, Readable, Roster, Rules, unroll
from celerant.canvas.freezing import freeze
from celerant.canvas.group import group
from celerant.canvas.kinds import readable
from celerant.canvas.nesting import same_members
from celerant.canvas.send_options import (
    check_canvas,
    check_links,
    check_options,
    producer_of,
)
from celerant.canvas.signature import Signature
from celerant.common.per_process import PerProcess, ProcessLock
from celerant.common.urls import scheme
from celerant.context.request import current_request
from celerant.dispatch.blueprints import Blueprints, Lineage
from celerant.dispatch.clock import zone_of
from celerant.dispatch.connections import Patience
from celerant.dispatch.dispatcher import Dispatcher
from celerant.dispatch.interruption import carry
from celerant.dispatch.order import Hooks, Order
from celerant.dispatch.run import Sent
from celerant.dispatch.wires.base import Broken
from celerant.errors import CanvasError, CelerantError, ForkError, PublishError
from celerant.results.async_result import AsyncResult
from celerant.results.group_result import GroupResult
from celerant.results.tracking.forms import clipped
from celerant.results.tracking.members import Members
from celerant.running.canvas_in_place import run_canvas
from celerant.running.in_place import run_group, run_signature
from celerant.sending.call import SentCall, new_seed
from celerant.sending.canvases import CanvasSender
from celerant.sending.holding import Held, hold
from celerant.sending.lowering import is_ignored

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.errors.report import Report

__all__ = ["Sender"]

#: What a signature may say that it is without being of that class.
_CANVASES = frozenset({"chain", "chord", "group"})


class Sender:
    """What `Signature` and `group` call when they are applied."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = ProcessLock()
        self._pid = os.getpid()
        self._dispatcher: Dispatcher | None = None
        self._own = PerProcess(_Own)
        self._made: _Made | None = None
        #: Run in place.
        self.apply_signature = partial(run_signature, app)
        self.apply_group = partial(run_group, app)
        self.apply_canvas = partial(run_canvas, app)
        canvases = CanvasSender(app, self)
        self.send_canvas = canvases.send
        self.send_chord = canvases.send_chord
        self.freeze_canvas = canvases.freeze
        self.resume_chord = canvases.resume
        #: How a result's group was sent, for `resume`.
        self._calls: weakref.WeakKeyDictionary[GroupResult[Any], SentCall] = (
            weakref.WeakKeyDictionary()
        )

    def close(self) -> None:
        """Close the connections; sending again opens new ones."""
        with self._lock:
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()

    def _open(self) -> Dispatcher:
        dispatcher = self._dispatcher
        if dispatcher is not None:
            return dispatcher
        with self._lock:
            if self._dispatcher is None:
                limit = self._app.conf.broker_pool_limit
                self._dispatcher = Dispatcher(self._app.connection_for_write, limit)
            return self._dispatcher

    def send_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        *,
        held: AsyncResult[Any] | None = None,
    ) -> AsyncResult[Any]:
        """Send one task; see `Signature.apply_async`. `held` is its result already."""
        if self._app.conf.task_always_eager and signature.task in self._app.tasks:
            ran = self.apply_signature(signature, args, kwargs, options)
            return ran if held is None else held.go_on_as(ran)
        check_options(options, "task", f"task {signature.task}")
        if signature["options"]:
            # What else it has is checked where its message is drawn.
            check_links(signature["options"], "task")
        roster = Roster(new_seed())
        task_id = options.pop("task_id", None)
        given: Mapping[str, Any] = signature
        if task_id:
            named = {**signature.options, "task_id": task_id}
            given = {**signature, "options": named}
        backend = self._app.backend
        losses = backend.losses
        if signature["subtask_type"] in _CANVASES:
            call = SentCall([given], args, kwargs, options, losses)
            sent = self.dispatch(call.source, roster, call, group_id=None)
        else:
            sent = self._dispatch_one(given, roster, args, kwargs, options)
        members = Members(roster, sent.barrier, backend, losses=losses)
        result: AsyncResult[Any] = AsyncResult(roster.id(0), members=members)
        if held is not None:
            result = held.go_on_as(result)
        if sent.error is not None:
            carry(sent.error, result, sent.report)
            raise sent.error
        self.add_to_parent(result, options)
        return result

    def send_group(  # noqa: PLR0913 - a call, and what it has already
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        *,
        held: GroupResult[Any] | None = None,
        origin: group[Any] | None = None,
    ) -> GroupResult[Any]:
        """Send a group; see `group.apply_async`.

        Args:
            members: The group.
            args: As `group.apply_async`.
            kwargs: The same.
            options: The same.
            held: Its result, where it was held and has one.
            origin: The caller's group of which `members` is the frozen copy.
        """
        if self._app.conf.task_always_eager:
            ran = self.apply_group(members, args, kwargs, options)
            return ran if held is None else held.go_on_as(ran)
        check_options(options, "group")
        merged = members.merged_options(options)
        check_links(merged, "group")
        source = members["kwargs"]["tasks"]
        given = source if origin is None else origin["kwargs"]["tasks"]
        call = SentCall(given, args, kwargs, merged, self._app.backend.losses)
        roster = Roster(members._seed or new_seed())  # noqa: SLF001 - set by our own freeze
        group_id = call.options.pop("task_id", None) or roster.uuid
        sent = self.dispatch(source, roster, call, group_id=group_id)
        result = self.group_result(roster, group_id, sent, call)
        if held is not None:
            result = held.go_on_as(result)
        if sent.error is not None:
            raise self._resumable(sent, result, call)
        if held is None:
            result = result.lone()
        self.add_to_parent(result, options)
        return result

    def resume_group(
        self,
        members: group[Any],
        result: GroupResult[Any],
        unknown: Literal["send", "skip"],
    ) -> GroupResult[Any]:
        """Send what an interrupted dispatch left over; see `group.resume`."""
        if unknown not in {"send", "skip"}:
            msg = f"unknown must be 'send' or 'skip', not {unknown!r}"
            raise ValueError(msg)
        call, report = self._calls.get(result), result.report
        if report is None or (call is None and not report.complete):
            msg = (
                f"result {result.id} is of no dispatch of this app in this process; "
                "resume takes what PublishError.result is"
            )
            raise CanvasError(msg, path="group")
        source = members["kwargs"]["tasks"]
        if isinstance(source, (list, tuple)):
            _check_origin(members, result, call)
        elif call is not None:
            msg = (
                "a group made from a generator or by group.map cannot be resumed: its "
                "members are gone; send what the report calls unsent as a new group"
            )
            raise CanvasError(msg, path="group")
        if call is not None:
            self.find_out(call, result, report)
        only = report.unsent + report.rejected
        if unknown == "send":
            only += report.unknown
        if call is None or not only:
            return result
        sent = self.dispatch(
            source,
            result.roster,
            call,
            group_id=result.id,
            only=sorted(only),
            ledger=report.ledger,
        )
        result.renew(sent.barrier, sent.report)
        if sent.error is not None:
            raise self._resumable(sent, result, call)
        return result

    def find_out(self, call: SentCall, result: Any, report: Report) -> None:
        """Ask the broker what became of the unknown members of an earlier dispatch.

        Raises:
            PublishError: It does not answer; `result` can be resumed later.
        """
        if not call.doubts:
            return
        patience = self._patience(call.options)
        try:
            self._open().find_out(call.doubts, report.ledger, patience)
        except PublishError as exc:
            carry(exc, result, report)
            raise

    def hold(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        *,
        unsent: str,
    ) -> Held:
        """Freeze a canvas that is sent later, or never because of `unsent`."""
        return hold(self._app, canvas, args, kwargs, options, unsent=unsent)

    def freeze_group(
        self, members: group[Any], options: dict[str, Any]
    ) -> GroupResult[Any]:
        """Give a group and its members their ids; see `group.freeze`."""
        members.options.update(options)
        seed = members._seed or new_seed()  # noqa: SLF001 - frozen again: the same ids
        roster, barrier = freeze(members, seed, self._app)
        kept = Members(roster, barrier, self._app.backend, is_group=True)
        return GroupResult(members.options["task_id"], kept)

    def dispatch(  # noqa: PLR0913 - one dispatch's whole context
        self,
        source: Any,
        roster: Roster,
        call: SentCall,
        *,
        group_id: str | None,
        only: list[tuple[int, int]] | None = None,
        ledger: Ledger | None = None,
        before_first: Callable[[], None] | None = None,
        before_last: Callable[[int], None] | None = None,
    ) -> Sent:
        """Send members under the ids of a roster."""
        self._refuse_forked_memory()
        order = Order(
            source=source,
            roster=roster,
            blueprints=self._blueprints(group_id, call.options),
            rules=self._rules(),
            patience=self._patience(call.options),
            args=call.args,
            kwargs=call.kwargs,
            grouped=group_id is not None,
            producer=producer_of(call.options),
            only=only,
            ledger=Ledger() if ledger is None else ledger,
            hooks=Hooks(
                announce=self.announce,
                before_first=before_first,
                before_last=before_last,
                vet=self._vet,
            ),
        )
        return self._open().dispatch(order)

    def _dispatch_one(
        self,
        signature: Mapping[str, Any],
        roster: Roster,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Sent:
        self._refuse_forked_memory()
        order = Order(
            (signature,),
            roster,
            self._blueprints(None, options),
            self._rules(),
            self._patience(options),
            args,
            kwargs,
            grouped=False,
            producer=producer_of(options),
        )
        return self._open().dispatch_one(order)

    def _patience(self, options: Mapping[str, Any]) -> Patience:
        """Return how often a dispatch tries again."""
        conf = self._app.conf
        retry, own = options.get("retry"), options.get("retry_policy")
        policy = conf.task_publish_retry_policy
        return Patience(
            {**policy, **own} if own else policy,
            enabled=conf.task_publish_retry if retry is None else retry,
        )

    def _rules(self) -> Rules:
        """Return how members are read, made once for as long as no setting changes."""
        conf, types, made = self._app.conf, readable(), self._made
        if made is None or made.types is not types or made.version != conf.version:
            rules = Rules(
                types,
                repr_levels=conf.task_repr_maxlevels,
                links_errors_to_headers=bool(conf.task_allow_error_cb_on_chord_header),
            )
            made = self._made = _Made(types, conf.version, rules)
        return made.rules

    def _blueprints(
        self, group_id: str | None, options: Mapping[str, Any]
    ) -> Blueprints:
        app, request = self._app, current_request.get()
        queues, router = app.routes()
        # Those of a plain `delay` are all the same, for as long as no setting changes.
        is_plain = group_id is None and request is None and not options
        if is_plain:
            own = self._own.get()
            plain = own.plain
            if plain is not None and plain[0] is queues:
                return plain[1]
        blueprints = Blueprints(
            app.conf,
            queues,
            router,
            app.tasks,
            zone=zone_of(app.conf),
            reply_to=self.reply_to,
            lineage=Lineage.of(request),
            group_id=group_id,
            options=options,
        )
        if is_plain:
            own.plain = queues, blueprints
        return blueprints

    def announce(self, sizes: list[tuple[str, int, Any]]) -> None:
        """Tell the result backend of how many parts chords consist.

        Of headers in which there are groups also their form, which the values given
        to the body have.
        """
        backend = self._app.backend
        for group_id, _, form in sizes:
            if form is not None:
                backend.save_group(group_id, form)
        backend.set_chord_sizes({group_id: size for group_id, size, _ in sizes})

    def _vet(self, canvas: Any, has_chords: bool) -> bool:  # noqa: FBT001 - called by position alone
        if has_chords:
            self._app.backend.ensure_chords_allowed()
        check_canvas(canvas, canvas.get("subtask_type") or "canvas")
        return is_ignored(self._app, canvas)

    def _refuse_forked_memory(self) -> None:
        app, pid, request = self._app, os.getpid(), current_request.get()
        is_of_worker = request is not None and request.memory_pid not in {0, pid}
        if pid == self._pid and not is_of_worker:
            return
        if scheme(app.conf.broker_write_url) != "memory":
            return
        if pid != self._pid:
            msg = (
                f"app {app.name!r} sends through memory of process {self._pid}, which "
                f"its forked child {pid} does not share; use a broker, or make "
                "the app after the fork"
            )
            raise ForkError(msg, created_in_pid=self._pid)
        if request is not None:
            msg = (
                f"task {request.task} runs in child process {pid} of the "
                f"worker in process {request.memory_pid}; what it sends through "
                f"memory:// of app {app.name!r} would never leave the child: use a "
                "broker such as redis://, or pool='threads'"
            )
            raise ForkError(msg, created_in_pid=request.memory_pid)

    def group_result(
        self, roster: Roster, group_id: str | None, sent: Sent, call: SentCall
    ) -> GroupResult[Any]:
        """Return what a dispatch leaves behind."""
        members = Members(
            roster, sent.barrier, self._app.backend, losses=call.losses, is_group=True
        )
        return GroupResult(group_id or roster.uuid, members, report=sent.report)

    def _resumable(
        self, sent: Sent, result: GroupResult[Any], call: SentCall
    ) -> BaseException:
        """Keep what `resume` needs, and return the error."""
        error = sent.error
        assert error is not None  # noqa: S101 - the caller looked
        carry(error, result, result.report)
        call.doubts = sent.doubts
        self._calls[result] = call
        return error

    def add_to_parent(self, result: Any, options: Mapping[str, Any]) -> None:
        """Count a result among the children of the task that runs here, if one does."""
        request = current_request.get()
        if request is None or not options.get("add_to_parent", True):
            return
        parent = self._app.tasks.get(request.task)
        if parent is None or parent.trail:
            request.children.append(clipped(result.as_tuple()))

    def reply_to(self, is_needed: bool) -> str:  # noqa: FBT001 - called by position alone
        """Return where the results of what is sent go; open there if one is to come."""
        try:
            queue: str | None = self._app.backend.reply_to(is_needed=is_needed)
        except CelerantError as exc:
            msg = f"nothing would receive the results: {exc}"
            raise Broken(msg, recoverable=True) from exc
        if queue is not None:
            return queue
        local = self._own.get().local
        try:
            oid: str = local.oid
        except AttributeError:
            oid = local.oid = oid_from(self._app)
        return oid


@dataclass(slots=True, frozen=True)
class _Made:
    """Rules, and what they were made for."""

    types: Readable
    version: int
    rules: Rules


class _Own:
    """What of a sender belongs to one process."""

    def __init__(self) -> None:
        #: What each thread calls itself, where results are stored.
        self.local = threading.local()
        #: What draws a task without options that no task sends, and for which queues.
        #: It names the process.
        self.plain: tuple[Any, Blueprints] | None = None


def _check_origin(
    members: group[Any], result: GroupResult[Any], call: SentCall | None
) -> None:
    """Refuse a result of another group: its ids would go to these members.

    Members may have been mended, but in the list that was sent.
    """
    source = members["kwargs"]["tasks"]
    count = len(unroll(source, readable()))
    if count != len(result):
        reason = f"it has {len(result)} members, the group {count}"
    elif call is not None and call.source is source:
        return
    elif members.id not in {None, result.id}:
        reason = f"the group was frozen as {members.id}"
    elif call is None or members.id is not None or same_members(source, call.source):
        return
    else:
        reason = "its members are others"
    msg = (
        f"result {result.id} is not of this group: {reason}; resume with the group "
        "that was sent"
    )
    raise CanvasError(msg, path="group")
