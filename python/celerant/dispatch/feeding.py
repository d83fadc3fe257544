"""A group that leaves by and by: as many members at a time as there is room for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from celerant._core import Barrier, Chunk
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.dispatching import Many
from celerant.dispatch.interruption import Abandoned
from celerant.dispatch.order import Order
from celerant.dispatch.run import Dispatched
from celerant.dispatch.watching import Departure
from celerant.dispatch.wires.base import Broken
from celerant.dispatch.wires.chunk_limits import NEAR
from celerant.errors import CanvasError
from celerant.errors.report import Intervals, Report

__all__ = ["Fed", "Gate"]


class Gate(Protocol):
    """Says how many members may leave, and when."""

    #: Whether it goes by the results of members.
    hears: bool

    def wait(self) -> int:
        """Return how many may leave, once that is worth a turn; 0: none, ever."""

    def room(self) -> int:
        """Return how many may leave now, if that is worth a chunk; else 0."""

    def passing(self) -> AbstractContextManager[None]:
        """Hold back who wants to stop it while something leaves.

        Waits while it is closed.

        Raises:
            Abandoned: Nothing is to leave any more.
        """


class Fed(Many):
    """The state of sending an order in turns.

    Between two turns it holds no connection. It is concluded once: by its own thread
    at its end, or by another that stops it while its source is slow.
    """

    def __init__(self, order: Order, gate: Gate, departure: Departure | None) -> None:
        super().__init__(order)
        self._gate = gate
        self._departure = departure
        #: Members that are known and were not read yet: of a list that was frozen, or
        #: sent before.
        self.ahead = 0
        #: Whether the source was read to its end.
        self.is_read = False
        #: Members that were read or passed over.
        self.count = 0
        #: Whether members were read that did not leave.
        self.is_torn = False
        #: What was read while it caught up, and is sent in the first turn.
        self._held_back: list[tuple[Chunk, bool]] = []
        #: Members that may be in a queue twice, as the report has them.
        self._double: Intervals = []
        self._count_ahead()

    @property
    def report(self) -> Report:
        """What became of the members, as far as it is known at the time of asking."""
        return Report(self._ledger, self._double)

    def catch_up(self, carriers: Carriers) -> None:
        """Read the members that another process has sent, and compare them.

        Raises:
            CanvasError: The source is another. Nothing is sent.
            PublishError: No broker answers.
        """
        if not self._is_behind:
            return
        try:
            with self._held(carriers) as carrier:
                self._read_known(carrier)
        except BaseException as exc:
            departure, self._departure = self._departure, None
            if departure is not None:
                departure.end(None, exc)
            if not isinstance(exc, Broken):
                raise
            raise self._publish_error(exc) from exc.__cause__
        self._count_ahead()

    def _read_known(self, carrier: Carrier) -> None:
        self._renderer.carrier = carrier
        resumed, plan = self._hooks.resumed, self._plan
        assert resumed is not None  # noqa: S101 - it is behind it
        while self._is_behind or plan.is_amid:
            limits = carrier.wires[0].limits
            most = min(limits.members, max(0, resumed.known - plan.count))
            chunk = plan.read(most, limits.bytes, whole=True)
            if chunk is None:
                self._refuse_short()
                break
            self._refuse_ignored(chunk)
            rest = self._rest_of(chunk)
            self._grow(plan.count)
            if len(rest):
                self._ledger.expect(rest)
                self._held_back.append((rest, plan.is_amid))
                self.is_torn = True
        if resumed.total is not None and (more := plan.read(1, NEAR.bytes)):
            # Says that there should be none.
            self._rest_of(more)
        if resumed.total is not None and not self._held_back:
            self._count_silent()
            self.is_read = True

    def over(self, carriers: Carriers) -> Dispatched:
        """Send until the source is at its end or the gate says so.

        Returns:
            What came of it: `error` says why the source was not read to its end. The
            members are not told yet; see `conclude`.
        """
        error: BaseException | None = None
        try:
            while (not self.is_read or self._held_back) and (room := self._gate.wait()):
                with self._held(carriers) as carrier:
                    self._turn(carrier, room)
        except Abandoned:
            # Whoever stopped it knows why.
            pass
        except Broken as exc:
            error = self._publish_error(exc)
        except BaseException as exc:  # noqa: BLE001 - told to whoever waits
            error = exc
        return Dispatched(self._report(), error, self._dispatch.doubts)

    def _turn(self, carrier: Carrier, room: int) -> None:
        """Send as many members as there is room for."""
        self._renderer.carrier = carrier
        while self._held_back:
            with self._gate.passing():
                ready, is_amid = self._held_back[0]
                self._send(carrier, ready, is_amid=is_amid)
                del self._held_back[0]
        # A member that has begun to leave goes on: it may be several messages.
        while room > 0 or self._plan.is_amid:
            limits = carrier.wires[0].limits
            most = max(0, min(limits.members, room))
            self.is_torn = True
            chunk = self._plan.read(most, limits.bytes, whole=True)
            with self._gate.passing():
                if chunk is None:
                    self._count_silent()
                    self.is_read = True
                    break
                self._refuse_ignored(chunk)
                self._rest_of(chunk)
                self._grow(self._plan.count)
                self._ledger.expect(chunk)
                self._count_ahead()
                self._send(carrier, chunk, is_amid=self._plan.is_amid)
            self.is_torn = False
            room = self._gate.room()
        carrier.wires[0].flush()
        if self._hooks.journal is not None:
            self._hooks.journal.settle(self._ledger, self._dispatch.maybe_double)
        if self._dispatch.maybe_double:
            self._double[:] = self._report().maybe_double

    def _refuse_ignored(self, chunk: Chunk) -> None:
        ignored = chunk.ignored()
        self._ignored += ignored
        if ignored and self._gate.hears:
            index = ignored[0][0]
            msg = (
                f"{self._path(index)}: its result is ignored, so nobody would know "
                "when the next may leave; send it without a window"
            )
            raise CanvasError(msg, path=self._path(index))

    def _count_ahead(self) -> None:
        self.count = self._plan.count
        self.ahead = sum(map(len, self._ranges_ahead()))

    def _ranges_ahead(self) -> list[range]:
        """Return the members that are known and were not read yet."""
        only = self._order.only
        known = [(0, self._known)] if only is None else only
        ranges = (range(max(start, self.count), stop) for start, stop in known)
        return [each for each in ranges if each]

    def conclude(self, error: BaseException | None, *, is_over: bool) -> None:
        """Say of which members no result is to come, and that there are no more.

        Args:
            error: Why the source was not read to its end, if so.
            is_over: Whether its thread is done with it; else it may be in its source.
        """
        total, tally = len(self._ledger), self._order.tally
        assert tally is not None  # noqa: S101 - who feeds counts
        if not is_over:
            # What left may not be confirmed yet: all that was read has left.
            for each in self._ranges_ahead():
                tally.settle(each, Barrier.NOT_SENT)
            tally.seal(total)
        else:
            if not self.is_read and self._plan.holds:
                self._count_rest()
            self._conclude()
        departure, self._departure = self._departure, None
        if departure is not None:
            departure.end(self._report(), error)
