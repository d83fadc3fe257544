"""One dispatch: chunks from the plan onto the wire, and what became of each member."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from kombu import Connection, Producer

from celerant._core import Barrier, Chunk, Ledger, Plan, Roster
from celerant.canvas.kinds import readable_types
from celerant.canvas.source import Mapped
from celerant.dispatch.blueprints import Blueprints
from celerant.dispatch.connections import Patience
from celerant.dispatch.links import Link, Links
from celerant.dispatch.rendering import Renderer
from celerant.dispatch.report import Intervals, Report
from celerant.dispatch.wires.base import Broken, Dispatch
from celerant.errors import ForkError, PublishError

__all__ = ["Dispatcher", "Listener", "Order", "Sent"]

logger = logging.getLogger("celerant")

#: Members per chunk, and bytes after which a chunk is full earlier.
CHUNK_MEMBERS = 500
CHUNK_BYTES = 1 << 20
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
    #: Called with the number of results before the last chunk leaves.
    before_last: Callable[[int], None] | None = None
    #: Called with each member that is a chain or chord and whether there is a chord in
    #: it: raises to refuse it, and says whether its result is ignored.
    vet: Callable[[Any, bool], bool] = field(default=lambda _canvas, _has_chords: False)
    #: Celery's ``task_allow_error_cb_on_chord_header``.
    links_errors_to_headers: bool = False
    #: None: nobody hears of members.
    listener: Listener | None = None


@dataclass(slots=True)
class Sent:
    """What came of an order. `error` is why not all of it left, if so."""

    barrier: Barrier
    report: Report
    error: BaseException | None = None


class Dispatcher:
    """Sends orders over pooled connections."""

    def __init__(
        self, make_connection: Callable[[], Connection], pool_limit: int | None
    ) -> None:
        self._links = Links(make_connection, pool_limit)

    def close(self) -> None:
        """Close the pooled connections."""
        self._links.close()

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        self._links.after_fork()

    def dispatch(self, order: Order) -> Sent:
        """Send an order.

        Returns:
            The barrier, and the report of what was sent. Where the broker was lost
            or a member could not be read after others had left, `error` says so.
        Raises:
            CanvasError, ArgumentError, EncodeError, SettingError: A bad member, and
                nothing has been sent.
        """
        return _Run(order).over(self._links)


class _Run:
    """The state of one dispatch."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ledger = order.ledger
        self._dispatch = Dispatch(
            order.ledger,
            Patience(order.retry_policy, enabled=order.retry),
        )
        #: Members of an earlier dispatch, of which some messages may be in.
        self._doubtful = _indices(order.ledger.intervals("unknown"))
        self._ignored: Intervals = []
        self._started = False
        self._pid = os.getpid()
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
        )

    def over(self, links: Links) -> Sent:
        error: BaseException | None = None
        try:
            with self._held(links) as link:
                self._renderer.link = link
                self._send_all(link)
        except Broken as exc:
            error = self._publish_error(exc)
        except BaseException as exc:
            if not self._started:
                raise
            error = self._interrupted(exc)
        if error is not None:
            self._count_rest()
        return Sent(self._sealed(), self._report(), error)

    def _held(self, links: Links) -> AbstractContextManager[Link]:
        producer = self._order.producer
        if producer is None:
            return links.acquire(self._dispatch)
        # The caller's producer: its connection, its channel, its batch.
        link = Link(producer)
        link.begin(self._dispatch)
        return nullcontext(link)

    # -- sending -----------------------------------------------------------------

    def _send_all(self, link: Link) -> None:
        held: list[Chunk] | None = [] if self._plan.holds else None
        size = 0
        last: Chunk | None = None
        while (chunk := self._plan.read(CHUNK_MEMBERS, CHUNK_BYTES)) is not None:
            self._ledger.grow(self._plan.count)
            self._ledger.expect(chunk)
            self._ignored += chunk.ignored()
            self._results += chunk.results
            if self._order.before_last is not None:
                # The last one waits until all are read, or a chord could be
                # complete before its size and form are known.
                chunk, last = last, chunk  # one chunk of look-ahead
                if chunk is None:
                    continue
            if held is None:
                self._send(link, chunk)
                continue
            held.append(chunk)
            size += chunk.size
            if size > HELD_BYTES:
                for ready in held:
                    self._send(link, ready)
                held = None
        for ready in held or ():
            self._send(link, ready)
        if last is not None:
            assert self._order.before_last is not None  # noqa: S101 - else none waits
            self._order.before_last(self._results)
            self._send(link, last)
        if link.wire is not None:
            link.wire.flush()
        self._count_silent()

    def _announce(self, sizes: list[tuple[str, int, Any]]) -> None:
        if sizes and self._order.announce is not None:
            self._order.announce(sizes)

    def _send(self, link: Link, chunk: Chunk) -> None:
        if os.getpid() != self._pid:
            msg = (
                f"process {self._pid} was forked while it sent a group; its child "
                f"{os.getpid()} must not go on with the same connection"
            )
            raise ForkError(msg, created_in_pid=self._pid)
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
        try:
            if link.wire is not None and chunk.has_wired:
                link.wire.send(chunk)
            link.loose.send(chunk)
            if listener is not None and link.wire is not None:
                # What has left is known only then.
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
        if self._plan.holds:
            try:
                self._plan.skip_rest()
            except Exception:  # noqa: BLE001 - what stopped the dispatch is told already
                # The members behind a broken one cannot be counted.
                logger.debug("members behind a broken one are not counted")
        self._ledger.grow(self._plan.count)

    def _sealed(self) -> Barrier:
        total = len(self._ledger)
        self._order.roster.resize(total)
        barrier = Barrier()
        barrier.grow(total)
        for state in ("rejected", "unsent"):
            for start, stop in self._ledger.intervals(state):
                barrier.arrive_range(start, stop, Barrier.NOT_SENT)
        for start, stop in self._ignored:
            barrier.arrive_range(start, stop, Barrier.IGNORED)
        barrier.seal(total)
        return barrier

    def _report(self) -> Report:
        double = sorted(self._dispatch.maybe_double)
        return Report(self._ledger, _intervals(double))

    def _publish_error(self, exc: Broken) -> PublishError:
        error = PublishError(str(exc), recoverable=exc.recoverable)
        error.__cause__ = exc.__cause__
        return error

    def _interrupted(self, exc: BaseException) -> BaseException:
        if not isinstance(exc, Exception):
            # Ctrl-C and the like go on as they are.
            return exc
        path = getattr(exc, "path", "")
        message = f"sending stopped: {exc}"
        if not path and self._plan.failed_at is not None:
            # The source raised: it knows nothing of paths.
            path = self._plan.failed_at
            message = f"sending stopped at {path}: {exc}"
        error = PublishError(message, recoverable=False, path=path)
        error.__cause__ = exc
        return error


def _indices(runs: Intervals) -> set[int]:
    return {index for start, stop in runs for index in range(start, stop)}


def _intervals(indices: list[int]) -> Intervals:
    runs: Intervals = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
