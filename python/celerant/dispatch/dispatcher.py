"""Many at once: chunks from the plan onto the wire."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from kombu import Connection, Producer

from celerant._core import Chunk, Ledger, Plan, Roster, path_of
from celerant.canvas.kinds import readable_types
from celerant.canvas.source import Mapped
from celerant.dispatch.blueprints import Blueprints
from celerant.dispatch.connections import Patience
from celerant.dispatch.interruption import check_abandoned
from celerant.dispatch.link import Link
from celerant.dispatch.links import Links
from celerant.dispatch.lone import Lone, LoneOrder
from celerant.dispatch.rendering import Renderer
from celerant.dispatch.run import CHUNK_BYTES, Run, Sent, no_canvas
from celerant.dispatch.wires.base import Broken, Dispatch, Doubt
from celerant.errors import PublishError
from celerant.errors.report import Intervals

__all__ = ["Dispatcher", "Listener", "Order"]

logger = logging.getLogger("celerant")

#: Members per chunk.
CHUNK_MEMBERS = 500
#: A list is encoded whole before its first byte leaves up to this size.
HELD_BYTES = 16 << 20


class Listener(Protocol):
    """Hears of each member whose `Drawn` says so, before and after it leaves."""

    def leaving(self, chunk: Chunk, renderer: Renderer) -> Chunk:
        """Return what leaves instead of `chunk`: the same members, changed or not."""

    def left(self, ledger: Ledger) -> None:
        """Hear that of this chunk's members those have left that `ledger` says."""


@dataclass(slots=True)
class Order:
    """What to send, and under which ids."""

    #: A list or tuple of members, or something to iterate once.
    source: Any
    roster: Roster
    blueprints: Blueprints
    #: Prepended to every member's arguments that is not immutable.
    args: tuple[Any, ...] = ()
    #: Override every member's keywords that is not immutable.
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: False for a single task: it has no place in a group.
    grouped: bool = True
    retry: bool = True
    retry_policy: Mapping[str, Any] = field(default_factory=dict)
    producer: Producer | None = None
    #: Half-open ranges to send; None sends all.
    only: Intervals | None = None
    #: ``group_index`` of each member; None: its place among all.
    positions: list[int] | None = None
    #: Nested containers that `argsrepr` shows.
    repr_levels: int = 3
    #: Whether it closes what it opens where it is cut, as from Celery 5.7 on.
    balanced_reprs: bool = True
    ledger: Ledger = field(default_factory=Ledger)
    #: Tells the result backend of chords: the group's id, of how many parts they
    #: consist, and the group's form where groups are in it.
    announce: Callable[[list[tuple[str, int, Any]]], None] | None = None
    #: Called before anything leaves.
    before_first: Callable[[], None] | None = None
    #: Called with the number of results before the last chunk leaves: a chord's last
    #: member is held back until it is known to be the last.
    before_last: Callable[[int], None] | None = None
    #: Called with each member that is a chain or chord and whether there is a chord in
    #: it: raises to refuse it, and says whether its result is ignored.
    vet: Callable[[Any, bool], bool] = no_canvas
    #: Celery's ``task_allow_error_cb_on_chord_header``.
    links_errors_to_headers: bool = False
    #: None: nobody hears of members.
    listener: Listener | None = None


class Dispatcher:
    """Sends orders over pooled connections.

    Args:
        make_connection: Makes a connection, not yet connected.
        pool_limit: How many there may be; None: each dispatch makes its own.
        lend: As `Links`.
    """

    def __init__(
        self,
        make_connection: Callable[[], Connection],
        pool_limit: int | None,
        lend: Callable[[], AbstractContextManager[Connection]] | None = None,
    ) -> None:
        self._links = Links(make_connection, pool_limit, lend)

    def close(self) -> None:
        """Close the pooled connections."""
        self._links.close()

    def dispatch(self, order: Order) -> Sent:
        """Send an order.

        Returns:
            The barrier, and the report of what was sent. Where the broker was lost
            or a member could not be read after others had left, `error` says so.
        Raises:
            CanvasError, ArgumentError, EncodeError, SettingError: A bad member, and
                nothing has been sent.
        """
        return _Many(order).over(self._links)

    def dispatch_lone(self, order: LoneOrder) -> Sent:
        """Send one task; as `dispatch`."""
        return Lone(order).over(self._links)

    def find_out(
        self,
        doubts: list[Doubt],
        ledger: Ledger,
        policy: Mapping[str, Any],
        *,
        retry: bool,
    ) -> None:
        """Ask the broker what became of unknown members of an earlier dispatch.

        What it cannot tell stays unknown. `doubts` loses those that it was asked about.

        Raises:
            PublishError: No broker answers within the retry policy.
        """
        asking = Dispatch(ledger, Patience(policy, enabled=retry))
        try:
            with self._links.acquire(asking) as link:
                while doubts:
                    is_in = None if link.wire is None else link.wire.is_in(doubts[-1])
                    doubt = doubts.pop()
                    if is_in is not None:
                        state = "confirmed" if is_in else "unsent"
                        ledger.find_out(doubt.chunk, state)
        except Broken as exc:
            raise PublishError(str(exc), recoverable=exc.recoverable) from exc.__cause__


class _Many(Run):
    """The state of sending an order."""

    def __init__(self, order: Order) -> None:
        super().__init__(
            order.roster,
            order.ledger,
            order.retry_policy,
            retry=order.retry,
            producer=order.producer,
        )
        self._order = order
        #: Members of an earlier dispatch, of which some messages may be in.
        self._doubtful = _indices(order.ledger.intervals("unknown"))
        self._renderer = Renderer(order.blueprints)
        self._results = 0
        self._plan = Plan(
            order.roster,
            self._renderer.resolve,
            self._renderer.resolve_final,
            order.blueprints.reply_to,
            order.vet,
            order.source,
            readable=readable_types(),
            mapped=Mapped,
            args=order.args,
            kwargs=dict(order.kwargs),
            options=order.blueprints.call,
            grouped=order.grouped,
            only=order.only,
            positions=order.positions,
            repr_levels=order.repr_levels,
            balanced_reprs=order.balanced_reprs,
            links_errors_to_headers=order.links_errors_to_headers,
            tells_last=order.before_last is not None,
        )

    # -- sending -----------------------------------------------------------------

    def _send_all(self, link: Link) -> None:
        self._renderer.link = link
        held: list[Chunk] = []
        size = 0
        while (chunk := self._plan.read(CHUNK_MEMBERS, CHUNK_BYTES)) is not None:
            self._ledger.grow(self._plan.count)
            self._ledger.expect(chunk)
            self._ignored += chunk.ignored()
            self._results += chunk.results
            held.append(chunk)
            size += chunk.size
            # Nothing of a list leaves before a bad member is found; what comes from a
            # generator, at any depth, does not wait for its end.
            if size > HELD_BYTES or not self._plan.holds:
                for ready in held:
                    self._send(link, ready)
                held.clear()
        for ready in held:
            self._send(link, ready)
        if link.wire is not None:
            link.wire.flush()
        self._count_silent()

    def _announce(self, sizes: list[tuple[str, int, Any]]) -> None:
        if sizes and self._order.announce is not None:
            self._order.announce(sizes)

    def _send(self, link: Link, chunk: Chunk) -> None:
        check_abandoned()
        self._refuse_forked()
        if chunk.is_last and self._order.before_last is not None:
            # A chord must not be complete before its size and form are known.
            self._order.before_last(self._results)
        listener = self._order.listener
        if listener is not None:
            chunk = listener.leaving(chunk, self._renderer)
        if not self._started and self._order.before_first is not None:
            self._order.before_first()
        self._announce(chunk.chord_sizes())
        self._started = True
        if self._doubtful:
            again = _indices(chunk.ranges()) & self._doubtful
            self._dispatch.maybe_double |= again
        is_due = chunk.is_due
        try:
            self._carry(link, chunk)
            if link.wire is not None and (is_due or listener is not None):
                # What has left is known only then: who hears of it wants to know, and
                # a slow source must not come between a chunk and its second try.
                link.wire.flush()
        finally:
            if listener is not None:
                listener.left(self._ledger)

    # -- accounting --------------------------------------------------------------

    def _count_silent(self) -> None:
        """Count members of which nothing is to be sent as sent, also at the end."""
        self._ledger.grow(self._plan.count)
        for index in self._plan.without_messages:
            self._ledger.mark_index(index, "confirmed")

    def _count_rest(self) -> None:
        """Count what an interrupted list still holds, so that it can be resumed.

        Of a generator only what was read counts: a bad member and those behind it
        are in no report.
        """
        try:
            self._plan.skip_rest()
        except Exception:  # noqa: BLE001 - what stopped the dispatch is told already
            # The members behind a broken one cannot be counted.
            logger.debug("members behind a broken one are not counted")
        self._ledger.grow(self._plan.count)

    def _path(self, index: int) -> str:
        if not self._order.grouped:
            return "task"
        try:
            found = path_of(
                self._order.source, index, readable=readable_types(), mapped=Mapped
            )
        except Exception:  # noqa: BLE001 - a generator in it is read no second time
            found = None
        return found or f"group[{index}]"


def _indices(runs: Intervals) -> set[int]:
    return {index for start, stop in runs for index in range(start, stop)}
