"""Many at once: chunks from the plan onto the wire."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from kombu import Connection

from celerant._core import Chunk, Fate, Ledger, path_of
from celerant.canvas.readable import readable
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.connections import Patience
from celerant.dispatch.interruption import check_abandoned
from celerant.dispatch.order import Order
from celerant.dispatch.run import Run, Sent
from celerant.dispatch.wires.base import Broken, Dispatch, Doubt
from celerant.dispatch.wires.volleys import NEAR
from celerant.errors import PublishError
from celerant.errors.report import Intervals

__all__ = ["Dispatcher"]

logger = logging.getLogger("celerant")

#: A list is encoded whole before its first byte leaves up to this size.
HELD_BYTES = 16 << 20


class Dispatcher:
    """Sends orders over pooled connections.

    Args:
        make_connection: Makes a connection, not yet connected.
        pool_limit: How many there may be; None: each dispatch makes its own.
        lend: As `Carriers`.
    """

    def __init__(
        self,
        make_connection: Callable[[], Connection],
        pool_limit: int | None,
        lend: Callable[[], AbstractContextManager[Connection]] | None = None,
    ) -> None:
        self._carriers = Carriers(make_connection, pool_limit, lend)

    def close(self) -> None:
        """Close the pooled connections."""
        self._carriers.close()

    def dispatch(self, order: Order) -> Sent:
        """Send an order.

        Returns:
            The barrier, and the report of what was sent. Where the broker was lost
            or a member could not be read after others had left, `error` says so.
        Raises:
            CanvasError, ArgumentError, EncodeError, SettingError: A bad member, and
                nothing has been sent.
        """
        return _Many(order).over(self._carriers)

    def dispatch_one(self, order: Order) -> Sent:
        """Send a single task that is neither chain, chord nor group; as `dispatch`."""
        return _One(order).over(self._carriers)

    def find_out(
        self,
        doubts: list[Doubt],
        ledger: Ledger,
        patience: Patience,
    ) -> None:
        """Ask the broker what became of unknown members of an earlier dispatch.

        What it cannot tell stays unknown. `doubts` loses those that it was asked about.

        Raises:
            PublishError: No broker answers within the retry policy.
        """
        asking = Dispatch(ledger, patience)
        try:
            with self._carriers.acquire(asking) as carrier:
                while doubts:
                    is_in = carrier.wires[0].is_in(doubts[-1])
                    doubt = doubts.pop()
                    if is_in is not None:
                        fate = Fate.CONFIRMED if is_in else Fate.UNSENT
                        ledger.find_out(doubt.chunk, fate)
        except Broken as exc:
            raise PublishError(str(exc), recoverable=exc.recoverable) from exc.__cause__


class _Many(Run):
    """The state of sending an order."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._hooks = order.hooks
        #: Members of an earlier dispatch, of which some messages may be in.
        self._doubtful = _indices(order.ledger.intervals(Fate.UNKNOWN))
        self._results = 0

    # -- sending -----------------------------------------------------------------

    def _send_all(self, carrier: Carrier) -> None:
        self._renderer.carrier = carrier
        held: list[Chunk] = []
        size = 0
        while (chunk := self._next(carrier)) is not None:
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
                    self._send(carrier, ready)
                held.clear()
        for ready in held:
            self._send(carrier, ready)
        carrier.wires[0].flush()
        self._count_silent()

    def _next(self, carrier: Carrier) -> Chunk | None:
        volley = carrier.wires[0].volley
        return self._plan.read(volley.members, volley.bytes)

    def _announce(self, sizes: list[tuple[str, int, Any]]) -> None:
        if sizes and self._hooks.announce is not None:
            self._hooks.announce(sizes)

    def _send(self, carrier: Carrier, chunk: Chunk) -> None:
        check_abandoned()
        self._refuse_forked()
        if chunk.is_last and self._hooks.before_last is not None:
            # A chord must not be complete before its size and form are known.
            self._hooks.before_last(self._results)
        listener = self._hooks.listener
        if listener is not None:
            chunk = listener.leaving(chunk, self._renderer)
        if not self._started and self._hooks.before_first is not None:
            self._hooks.before_first()
        self._announce(chunk.chord_sizes())
        self._started = True
        if self._doubtful:
            again = _indices(chunk.ranges()) & self._doubtful
            self._dispatch.maybe_double |= again
        is_due = chunk.is_due
        try:
            carrier.send(chunk)
            if is_due or listener is not None:
                # What has left is known only then: who hears of it wants to know, and
                # a slow source must not come between a chunk and its second try.
                carrier.wires[0].flush()
        finally:
            if listener is not None:
                listener.left(self._ledger)

    # -- accounting --------------------------------------------------------------

    def _count_silent(self) -> None:
        """Count members of which nothing is to be sent as sent, also at the end."""
        self._ledger.grow(self._plan.count)
        for index in self._plan.without_messages:
            self._ledger.mark_index(index, Fate.CONFIRMED)

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
            found = path_of(self._order.source, index, readable())
        except Exception:  # noqa: BLE001 - a generator in it is read no second time
            found = None
        return found or f"group[{index}]"


class _One(Run):
    """The state of sending one task: of what many take, a group's part is left out."""

    def _send_all(self, carrier: Carrier) -> None:
        self._renderer.carrier = carrier
        chunk = self._plan.read(1, NEAR.bytes)
        assert chunk is not None  # noqa: S101 - there is one member
        self._ledger.grow(1)
        self._ledger.expect(chunk)
        self._ignored += chunk.ignored()
        self._refuse_forked()
        self._started = True
        carrier.send(chunk)
        carrier.wires[0].flush()

    def _count_rest(self) -> None:
        self._ledger.grow(1)

    def _path(self, index: int) -> str:  # noqa: ARG002 - it is the only one
        return "task"


def _indices(runs: Intervals) -> set[int]:
    return {index for start, stop in runs for index in range(start, stop)}
