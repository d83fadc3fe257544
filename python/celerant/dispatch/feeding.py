"""A group that leaves by and by: as many members at a time as there is room for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from celerant._core import Barrier, Chunk, Fate
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

    def at_hand(self) -> int | None:
        """Return how many members can be read without waiting; None: nobody knows."""

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
        #: Members that were read while it caught up, and have not left yet.
        self.held: list[range] = []
        #: Whether the source was read to its end, and nothing of it is under way.
        self.is_read = False
        #: Members that were read or passed over.
        self.count = 0
        #: Whether members were read that did not leave.
        self.is_torn = False
        #: Their messages; they leave before anything else.
        self._held_back: list[tuple[Chunk, bool]] = []
        #: Whether the last of it that has left goes on in the next.
        self._is_amid = False
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
                self._held_back.append((rest, plan.is_amid))
                self.is_torn = True
        if plan.count != resumed.total:
            # What the last sender read, and did not send, is read in turns.
            return
        if (more := plan.read(1, NEAR.bytes)) is not None:
            # Says that there should be none.
            self._rest_of(more)
        if not self._held_back:
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
        # What was read after it had been stopped is no part of the group.
        self._order.roster.resize(max(len(self._ledger), self._known))
        return Dispatched(self._report(), error, self._dispatch.doubts)

    def _turn(self, carrier: Carrier, room: int) -> None:
        """Send as many members as there is room for."""
        self._renderer.carrier = carrier
        is_over = False
        # A member that has begun to leave goes on: it may be several messages.
        while self._held_back and (room > 0 or self._is_amid):
            with self._gate.passing():
                self._send_held_back(carrier, max(1, room))
            self.is_torn = bool(self._held_back)
            room = self._gate.room()
        while not self._held_back and (room > 0 or self._plan.is_amid):
            limits = carrier.wires[0].limits
            most = max(0, min(limits.members, room))
            at_hand = self._gate.at_hand()
            if at_hand is not None:
                # Those that came together leave before the next one is awaited.
                most = min(most, max(1, at_hand))
            self.is_torn = True
            chunk = self._plan.read(most, limits.bytes, whole=True)
            with self._gate.passing():
                if chunk is None:
                    self._refuse_short()
                    self._count_silent()
                    is_over = True
                    break
                self._refuse_ignored(chunk)
                self._rest_of(chunk)
                self._grow(self._plan.count)
                self._ledger.expect(chunk)
                self._count_ahead()
                self._send(carrier, chunk, is_amid=self._plan.is_amid)
            self.is_torn = False
            if self._gate.at_hand() == 0:
                self._settle(carrier)
            room = self._gate.room()
        self._settle(carrier)
        # Only now: if it is stopped before, the last chunk may not be in.
        self.is_read = is_over
        if self._dispatch.maybe_double:
            self._double[:] = self._report().maybe_double

    def _settle(self, carrier: Carrier) -> None:
        """Learn what became of all that has left."""
        carrier.wires[0].flush()
        if self._hooks.journal is not None:
            self._hooks.journal.settle(self._ledger, self._dispatch.maybe_double)

    def _send_held_back(self, carrier: Carrier, most: int) -> None:
        """Send so many members of those that were held back, as far as they go."""
        ready, is_amid = self._held_back.pop(0)
        now, later = _split(ready.ranges(), most)
        if later:
            self._held_back.insert(0, (ready.within(later), is_amid))
            ready, is_amid = ready.within(now), False
        # They count as sent before they are: whoever stops it now finds them so.
        self._count_ahead()
        self._ledger.expect(ready)
        self._is_amid = is_amid
        self._send(carrier, ready, is_amid=is_amid)

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
        held = (one for chunk, _ in self._held_back for one in chunk.ranges())
        self.held = [range(*one) for one in held]

    def _ranges_ahead(self) -> list[range]:
        """Return the members that are known and were not read yet."""
        only = self._order.only
        known = [(0, self._known)] if only is None else only
        ranges = (range(max(start, self.count), stop) for start, stop in known)
        return [each for each in ranges if each]

    def _ranges_unsent(self) -> list[range]:
        """Return the members that are held back and are in no doubt."""
        unsent = self._ledger.intervals(Fate.UNSENT)
        parts = (
            range(max(one.start, start), min(one.stop, stop))
            for one in self.held
            for start, stop in unsent
        )
        return [each for each in parts if each]

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
            for each in self._ranges_ahead() + self._ranges_unsent():
                tally.settle(each, Barrier.NOT_SENT)
            tally.seal(total)
        else:
            if not self.is_read and self._plan.holds:
                self._count_rest()
            self._conclude()
        departure, self._departure = self._departure, None
        if departure is not None:
            departure.end(self._report(), error)


def _split(ranges: Intervals, most: int) -> tuple[Intervals, Intervals]:
    """Return the first `most` members of ascending ranges, and the others."""
    first: Intervals = []
    for at, (start, stop) in enumerate(ranges):
        if stop - start > most:
            cut = start + most
            now = [*first, (start, cut)] if most else first
            return now, [(cut, stop), *ranges[at + 1 :]]
        first.append((start, stop))
        most -= stop - start
    return first, []
