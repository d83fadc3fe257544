"""Orders from the plan onto the wire: many members in chunks, or one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celerant._core import ChordSize, Chunk, Fate, Ledger, path_of
from celerant.canvas.readable import readable
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.connections import Patience
from celerant.dispatch.interruption import check_abandoned
from celerant.dispatch.order import Order
from celerant.dispatch.run import Run
from celerant.dispatch.wires.base import Broken, Dispatch, Doubt
from celerant.dispatch.wires.chunk_limits import NEAR
from celerant.errors import CanvasError, PublishError
from celerant.errors.report import Intervals

__all__ = ["Many", "One", "find_out"]

logger = logging.getLogger("celerant")

#: A list is encoded whole before its first byte leaves up to this size.
HELD_BYTES = 16 << 20


def find_out(
    carriers: Carriers, doubts: list[Doubt], ledger: Ledger, patience: Patience
) -> None:
    """Ask the broker about unknown members of an earlier dispatch.

    A member that it cannot tell stays unknown. `doubts` loses the chunks that it was
    asked about.

    Raises:
        PublishError: No broker answers within the retry policy.
    """
    asking = Dispatch(ledger, patience)
    try:
        with carriers.acquire(asking) as carrier:
            while doubts:
                is_in = carrier.wires[0].is_in(doubts[-1])
                doubt = doubts.pop()
                if is_in is not None:
                    fate = Fate.CONFIRMED if is_in else Fate.UNSENT
                    ledger.find_out(doubt.chunk, fate)
    except Broken as exc:
        raise PublishError(str(exc), recoverable=exc.recoverable) from exc.__cause__


class Many(Run):
    """The state of sending an order in chunks."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._hooks = order.hooks
        #: Members that are known from the start.
        self._known = len(order.roster)
        #: Members of an earlier dispatch, of which some messages may be in.
        self._doubtful = _indices(order.ledger.intervals(Fate.UNKNOWN))
        self._results = 0
        if order.hooks.resumed is not None:
            self._dispatch.maybe_double |= _indices(order.hooks.resumed.double)

    # -- sending -----------------------------------------------------------------

    def _send_all(self, carrier: Carrier) -> None:
        self._renderer.carrier = carrier
        held: list[tuple[Chunk, bool]] = []
        size = 0
        while (chunk := self._next(carrier)) is not None:
            self._grow(self._plan.count)
            self._ignored += chunk.ignored()
            self._results += chunk.results
            rest = self._rest_of(chunk)
            if not len(rest):
                continue
            self._ledger.expect(rest)
            held.append((rest, self._plan.is_amid))
            size += rest.size
            # No member of a list leaves before all are checked. Members from a
            # generator, at any depth, do not wait for its end.
            holds = self._plan.holds or self._hooks.is_again
            if (size > HELD_BYTES or not holds) and not self._is_behind:
                for ready, is_amid in held:
                    self._send(carrier, ready, is_amid=is_amid)
                held.clear()
        self._refuse_short()
        for ready, is_amid in held:
            self._send(carrier, ready, is_amid=is_amid)
        carrier.wires[0].flush()
        self._count_silent()

    def _next(self, carrier: Carrier) -> Chunk | None:
        # A listener takes longer than the way to the broker.
        heard = self._hooks.listener is not None
        limits = NEAR if heard else carrier.wires[0].limits
        return self._plan.read(limits.members, limits.bytes)

    def _grow(self, count: int) -> None:
        # What is sent once more is of a group that has its size: more of a source that
        # was not read to its end is no part of it.
        super()._grow(min(count, self._known) if self._hooks.is_again else count)

    # -- going on where another process stopped ------------------------------------

    @property
    def _is_behind(self) -> bool:
        """Whether members are still read that have left before, and are compared."""
        resumed = self._hooks.resumed
        return resumed is not None and self._plan.count < resumed.known

    def _rest_of(self, chunk: Chunk) -> Chunk:
        """Check a chunk, and return it without the members that have left before.

        Raises:
            CanvasError: As `_print`; or the source has more than it had.
        """
        self._print(chunk)
        resumed = self._hooks.resumed
        if resumed is None:
            return chunk
        if resumed.total is not None and self._plan.count > resumed.total:
            path = self._path(resumed.total)
            msg = (
                f"{path}: the source had {resumed.total} members when it was sent, and "
                "now it has more; nothing is sent of these"
            )
            raise CanvasError(msg, path=path)
        return resumed.rest_of(chunk)

    def _refuse_short(self) -> None:
        """Refuse a source that ends before the members that have left.

        Raises:
            CanvasError: It does.
        """
        count, known = self._plan.count, 0
        resumed, only = self._hooks.resumed, self._order.only
        if resumed is not None:
            known = max(resumed.known, resumed.total or 0)
        elif self._hooks.is_again and only and count < only[-1][1]:
            known = self._known
        if count < known:
            msg = (
                f"group[{count}]: the source ends here, and it had {known} members "
                "when it was sent, so this source is another; nothing is sent of it"
            )
            raise CanvasError(msg, path=f"group[{count}]")

    def _print(self, chunk: Chunk) -> None:
        """Keep what members are sent with, or refuse others in their places.

        Raises:
            CanvasError: Another member, or one that cannot be sent once more.
        """
        hooks = self._hooks
        if hooks.resumed is not None:
            self._compare(chunk)
        if hooks.is_again:
            if chunk.chord_sizes():
                msg = (
                    "a chord cannot be sent once more by itself: what its header left "
                    "would count twice; send it as a new group"
                )
                raise CanvasError(msg, path="group")
            self._compare(chunk)
        elif hooks.prints is not None:
            hooks.prints.keep(chunk)

    def _compare(self, chunk: Chunk) -> None:
        """Refuse members that are known to have been others."""
        prints = self._hooks.prints
        other = None if prints is None else prints.first_other(chunk)
        if other is not None:
            path = self._path(other)
            msg = (
                f"{path}: its arguments are not those that were sent, so this "
                "source is another; nothing is sent of it"
            )
            raise CanvasError(msg, path=path)

    def _announce(self, sizes: Sequence[ChordSize]) -> None:
        if sizes and self._hooks.announce is not None:
            self._hooks.announce(sizes)

    def _send(self, carrier: Carrier, chunk: Chunk, *, is_amid: bool) -> None:
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
        journal, double = self._hooks.journal, self._dispatch.maybe_double
        if self._doubtful:
            double |= _indices(chunk.ranges()) & self._doubtful
        if journal is not None and len(chunk):
            carrier.wires[0].follow()
            journal.leaving(chunk, self._ledger, double, is_amid=is_amid)
        self._started = True
        is_due = chunk.is_due
        try:
            carrier.send(chunk)
            if is_due or listener is not None:
                # Only then the fates are known: a listener wants to know them, and a
                # slow source must not come between a chunk and its second try.
                carrier.wires[0].flush()
                if journal is not None:
                    journal.settle(self._ledger, double)
        finally:
            if listener is not None:
                listener.left(self._ledger)

    # -- accounting --------------------------------------------------------------

    def _count_silent(self) -> None:
        """Count members without messages as sent, also at the end."""
        self._grow(self._plan.count)
        for index in self._plan.without_messages:
            self._ledger.mark_index(index, Fate.CONFIRMED)

    def _count_rest(self) -> None:
        """Count the rest of an interrupted list, so that it can be resumed.

        A generator counts only the members that were read: a bad member and those
        behind it are in no report.
        """
        try:
            self._plan.skip_rest()
        except Exception:  # noqa: BLE001 - the error that stopped the dispatch is told already
            # The members behind a broken one cannot be counted.
            logger.debug("members behind a broken one are not counted")
        self._grow(self._plan.count)

    def _path(self, index: int) -> str:
        if not self._order.grouped:
            return "task"
        try:
            found = path_of(self._order.source, index, readable())
        except Exception:  # noqa: BLE001 - a generator in it is read no second time
            found = None
        return found or f"group[{index}]"


class One(Run):
    """The state of sending a single task: without a group's accounts."""

    def _send_all(self, carrier: Carrier) -> None:
        self._renderer.carrier = carrier
        chunk = self._plan.read(1, NEAR.bytes)
        assert chunk is not None  # noqa: S101 - there is one member
        self._grow(1)
        self._ledger.expect(chunk)
        self._ignored += chunk.ignored()
        self._refuse_forked()
        self._started = True
        carrier.send(chunk)
        carrier.wires[0].flush()

    def _count_rest(self) -> None:
        self._grow(1)

    def _path(self, index: int) -> str:  # noqa: ARG002 - it is the only one
        return "task"


def _indices(runs: Intervals) -> set[int]:
    return {index for start, stop in runs for index in range(start, stop)}
