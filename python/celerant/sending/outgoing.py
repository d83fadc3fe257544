"""What an app sends by: its connections, its settings and the task that sends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.common import oid_from

from celerant._core import ChordSize, Ledger, Readable, Roster, Rules
from celerant.canvas.readable import readable
from celerant.canvas.send_options import check_canvas, producer_of
from celerant.common.per_process import PerProcess
from celerant.context.request import current_request
from celerant.dispatch.blueprints import Basis, Blueprints, Lineage
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.clock import zone_of
from celerant.dispatch.connections import Patience
from celerant.dispatch.dispatching import Many, One
from celerant.dispatch.feeding import Fed
from celerant.dispatch.order import Hooks, Order
from celerant.dispatch.watching import WATCHERS, depart
from celerant.dispatch.wires.base import Broken
from celerant.errors import CelerantError
from celerant.results.tracking.forms import clipped
from celerant.results.tracking.members import Members
from celerant.sending.asking import Asking
from celerant.sending.feeding_patience import FeedingPatience
from celerant.sending.forked_memory import refuse_forked_memory
from celerant.sending.lowering import end_is_ignored
from celerant.sending.own_sending import members_noted
from celerant.tasks.noting import are_any

if TYPE_CHECKING:
    from celerant.context.call import Call
    from celerant.context.host import App
    from celerant.dispatch.journaling import Resumed
    from celerant.dispatch.run import Dispatched
    from celerant.dispatch.watching import Departure
    from celerant.sending.call import SentCall
    from celerant.sending.feeding import Feeder

__all__ = ["Outgoing"]

#: Connections of groups that are fed, which each has while it sends and no longer.
_FEEDING_MOST = 100
#: Seconds that a group waits for one of them. A turn of a group whose source does not
#: wait takes less, so after that it is the sources that hold them all.
_FEEDING_WAITS = 1.0


class Outgoing(Asking):
    """Sends members and tells backend and parent of them."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = PerProcess(threading.Lock)
        self._pid = os.getpid()
        self._carriers: Carriers | None = None
        self._feeding: Carriers | None = None
        self._own = PerProcess(_Own)
        self._made: _Lasting | None = None

    @property
    def backend(self) -> Any:
        """Where results are kept."""
        return self._app.backend

    def close(self) -> None:
        """Close the connections; sending again opens new ones."""
        with self._lock.get():
            all_of_them = self._carriers, self._feeding
            self._carriers = self._feeding = None
        for carriers in all_of_them:
            if carriers is not None:
                carriers.close()

    def open(self) -> Carriers:
        """Return the connections, made once."""
        carriers = self._carriers
        if carriers is not None:
            return carriers
        with self._lock.get():
            if self._carriers is None:
                limit = self._app.conf.broker_pool_limit
                self._carriers = Carriers(self._app.connection_for_write, limit)
            return self._carriers

    def open_for_feeding(self) -> Carriers:
        """Return the connections of groups that are fed, made once.

        Of their own: a slow source keeps one for as long as its turn takes, and must
        not keep it from others. If slow sources have all of them, more are made.
        """
        with self._lock.get():
            if self._feeding is None:
                make = self._app.connection_for_write
                self._feeding = Carriers(make, _FEEDING_MOST, waits=_FEEDING_WAITS)
            return self._feeding

    def dispatch(  # noqa: PLR0913 - one dispatch's whole context
        self,
        source: Any,
        roster: Roster,
        call: SentCall,
        members: Members | None = None,
        *,
        group_id: str | None,
        only: list[tuple[int, int]] | None = None,
        ledger: Ledger | None = None,
        before_first: Callable[[], None] | None = None,
        before_last: Callable[[int], None] | None = None,
        is_again: bool = False,
        resumed: Resumed | None = None,
    ) -> Dispatched:
        """Send members under the ids of a roster; `members` learn of themselves."""
        departure = depart(self._app.name, group_id)
        try:
            hooks = Hooks(
                announce=self.announce,
                before_first=before_first,
                before_last=before_last,
                vet=self._vet,
                prints=None if members is None else members.prints,
                is_again=is_again,
                journal=None if is_again else call.journal,
                resumed=resumed,
            )
            order = self._order(source, roster, call, group_id, hooks, departure, only)
            order = order._replace(
                ledger=Ledger() if ledger is None else ledger,
                tally=members,
            )
            sent = Many(order).over(self.open())
        except BaseException as exc:
            # Nothing has left.
            if departure is not None:
                departure.end(None, exc)
            if members is not None:
                members.abandon()
            raise
        if departure is not None:
            departure.end(sent.report, sent.error)
        return sent

    def order_again(
        self, source: Any, roster: Roster, call: SentCall, result: Any, only: Any
    ) -> Order:
        """Return an order of members that left before, to compare them."""
        hooks = Hooks(vet=self._vet, prints=result.members.prints, is_again=True)
        return self._order(source, roster, call, result.id, hooks, None, only)

    def feed(  # noqa: PLR0913 - as `dispatch`
        self,
        source: Any,
        call: SentCall,
        members: Members,
        feeder: Feeder,
        *,
        group_id: str,
        only: list[tuple[int, int]] | None = None,
        ledger: Ledger | None = None,
        is_again: bool = False,
        resumed: Resumed | None = None,
    ) -> Fed:
        """Return what sends members by and by, as `feeder` says."""
        hooks = Hooks(
            announce=self.announce,
            vet=self._vet,
            prints=members.prints,
            is_again=is_again,
            journal=None if is_again else call.journal,
            resumed=resumed,
        )
        departure = depart(self._app.name, group_id)
        roster = members.roster
        try:
            order = self._order(
                source, roster, call, group_id, hooks, departure, only, is_fed=True
            )
            policy, enabled = self._policy(call.options)
            if call.options.get("retry_policy") is None:
                policy = FeedingPatience.lasting(policy)
            order = order._replace(
                patience=FeedingPatience(policy, enabled=enabled, feeder=feeder),
                ledger=Ledger() if ledger is None else ledger,
                tally=members,
            )
            return Fed(order, feeder, departure)
        except BaseException as exc:
            if departure is not None:
                departure.end(None, exc)
            raise

    def _order(  # noqa: PLR0913, PLR0917 - what all orders of many have
        self,
        source: Any,
        roster: Roster,
        call: SentCall,
        group_id: str | None,
        hooks: Hooks,
        departure: Departure | None,
        only: list[tuple[int, int]] | None,
        *,
        is_fed: bool = False,
    ) -> Order:
        refuse_forked_memory(self._app, self._pid)
        lasting, options = self._lasting(), call.options
        if are_any() and group_id is not None:
            source, options = members_noted(self._app, source, roster, call, only)
        drawing = self._blueprints(
            lasting.basis, group_id, options, departure, call.stamp, is_fed=is_fed
        )
        call.tasks = drawing.task_names
        return Order(
            source=source,
            roster=roster,
            blueprints=drawing,
            rules=lasting.rules,
            patience=self._patience(options),
            ledger=Ledger(),
            only=only,
            args=call.args,
            kwargs=call.kwargs,
            grouped=group_id is not None,
            producer=producer_of(options),
            hooks=hooks,
        )

    def dispatch_one(
        self, signature: Mapping[str, Any], roster: Roster, call: Call, members: Members
    ) -> Dispatched:
        """Send one task under the id of a roster of one."""
        departure = depart(self._app.name, None) if WATCHERS else None
        try:
            refuse_forked_memory(self._app, self._pid)
            lasting = self._lasting()
            order = Order(
                (signature,),
                roster,
                self._blueprints(lasting.basis, None, call.options, departure),
                lasting.rules,
                self._patience(call.options),
                Ledger(),
                call.args,
                call.kwargs,
                grouped=False,
                producer=producer_of(call.options),
                tally=members,
            )
            sent = One(order).over(self.open())
        except BaseException as exc:
            if departure is not None:
                departure.end(None, exc)
            members.abandon()
            raise
        if departure is not None:
            departure.end(sent.report, sent.error)
        return sent

    def _patience(self, options: Mapping[str, Any]) -> Patience:
        """Return how often a dispatch tries again."""
        policy, enabled = self._policy(options)
        return Patience(policy, enabled=enabled)

    def _policy(self, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        conf = self._app.conf
        retry, own = options.get("retry"), options.get("retry_policy")
        policy = conf.task_publish_retry_policy
        enabled = conf.task_publish_retry if retry is None else retry
        return {**policy, **own} if own else policy, enabled

    def _lasting(self) -> _Lasting:
        """Return what dispatches share, made once for as long as no setting changes."""
        app, types, found = self._app, readable(), self._made
        conf = app.conf
        if found is None or found.types is not types or found.version != conf.version:
            rules = Rules(
                types,
                repr_levels=conf.task_repr_maxlevels,
                links_errors_to_headers=bool(conf.task_allow_error_cb_on_chord_header),
            )
            zone = zone_of(conf)
            basis = Basis(conf, *app.routes(), app.tasks, zone, self.reply_to)
            found = self._made = _Lasting(types, conf.version, rules, basis)
        return found

    def _blueprints(  # noqa: PLR0913 - all that they depend on
        self,
        basis: Basis,
        group_id: str | None,
        options: Mapping[str, Any],
        departure: Departure | None,
        stamp: str | None = None,
        *,
        is_fed: bool = False,
    ) -> Blueprints:
        request = current_request.get()
        is_plain = group_id is None and request is None and not options
        if departure is not None or not is_plain:
            return Blueprints(
                basis,
                Lineage.of(request),
                group_id,
                options,
                departure=departure,
                stamp=stamp,
                is_fed=is_fed,
            )
        # Those of a plain `delay` are all the same.
        own = self._own.get()
        plain = own.plain
        if plain is None or plain[0] is not basis:
            plain = own.plain = basis, Blueprints(basis, Lineage.of(None), None, {})
        return plain[1]

    def announce(self, sizes: Sequence[ChordSize]) -> None:
        """Tell the result backend how many results each chord waits for.

        If groups are in a header, the backend keeps its form too: the values that the
        body gets have that form.
        """
        backend = self._app.backend
        for chord in sizes:
            if chord.form is not None:
                backend.save_group(chord.group_id, chord.form)
        backend.set_chord_sizes({chord.group_id: chord.size for chord in sizes})

    def _vet(self, canvas: Any, has_chords: bool) -> bool:  # noqa: FBT001 - called by position alone
        if has_chords:
            self._app.backend.ensure_chords_allowed()
        check_canvas(canvas, canvas.get("subtask_type") or "canvas")
        return end_is_ignored(self._app, canvas)

    def members(self, roster: Roster, call: SentCall) -> Members:
        """Return the members of a group that is about to be sent."""
        backend = self._app.backend
        return Members(roster, backend, losses=call.losses, is_group=True)

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
class _Lasting:
    """What dispatches share, and what it was made for."""

    types: Readable
    version: int
    rules: Rules
    basis: Basis


class _Own:
    """What of a sender belongs to one process."""

    def __init__(self) -> None:
        #: What each thread calls itself, where results are stored.
        self.local = threading.local()
        #: What draws a task without options that no task sends, and on what basis. It
        #: names the process.
        self.plain: tuple[Basis, Blueprints] | None = None
