"""Settlements of messages, on their way from the slots to the broker."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.running.policy import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.intake import Intake
    from celerant.worker.message import Delivery

__all__ = ["Settling"]

#: Seconds that a settlement waits for more of them.
_LONG = 0.003
#: Seconds between the looks of a wait until all is told.
_LOOK = 0.05


class Settling:
    """Takes the slots' settlements; the thread that consumes passes them on."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Call `wake`, so that `pass_on` is called soon."""
        self._wake = wake
        #: Whether the broker is told of many at a time.
        self.in_volleys = False
        #: How many messages are held at most; 0 is without limit.
        self.held = 0
        #: Calls `tell_late` a little later.
        self.ask_later: Callable[[], None] | None = None
        self._settled: deque[tuple[Any, int, Settlement]] = deque()
        #: Deliveries whose tasks have begun, and are acknowledged for that.
        self._begun: deque[Delivery] = deque()
        #: Whether the broker has heard all settlements that were passed on.
        self.is_told = threading.Event()
        self.is_told.set()
        #: When the broker was last told (`monotonic`).
        self._told_at = 0.0

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Settle a message.

        If settlements go in volleys, it waits for `tell`, or for others.
        """
        if not self.in_volleys:
            self._settled.append((delivery.message, delivery.generation, settlement))
            self._wake()
        elif not delivery.is_forgotten:
            self._settled.append((delivery.message, 0, settlement))
            if len(self._settled) * 2 >= self.held > 0:
                self._wake()

    def settle_early(self, delivery: Delivery) -> bool:
        """Acknowledge a message whose task begins now; return whether that is all.

        In volleys it is told soon, unless the task has run by then: such a message
        goes once the result is stored, as `settle` says, so that none is lost.
        """
        if not self.in_volleys:
            self.settle(delivery, Settlement.ACK)
            return True
        self._begun.append(delivery)
        if self.ask_later is not None:
            self.ask_later()
        return False

    def tell(self) -> None:
        """Tell the broker the waiting settlements at once."""
        if self._settled or self._begun:
            self._wake()

    def tell_late(self) -> bool:
        """Tell the broker settlements that wait for long.

        Return whether none is left.
        """
        if not (self._settled or self._begun):
            return True
        if monotonic() - self._told_at < _LONG:
            return False
        self._wake()
        return True

    def wait(self, seconds: float) -> None:
        """Tell the broker, and wait until it has heard."""
        until = monotonic() + seconds
        # Cleared before anything is passed on, and set when the broker has heard it.
        while self._settled or self._begun or not self.is_told.is_set():
            left = until - monotonic()
            if left <= 0:
                break
            self._wake()
            self.is_told.clear()
            self.is_told.wait(min(left, _LOOK))

    def pass_on(self, intake: Intake, generation: int) -> None:
        """Tell the broker; `generation` is its connection's."""
        self._told_at = monotonic()
        if self._settled or self._begun:
            # The thread that tells it sets this.
            self.is_told.clear()
        while self._settled:
            message, of, settlement = self._settled.popleft()
            # The broker has taken back the messages that a lost connection had not
            # settled.
            if intake.outlives or of == generation:
                intake.settle(message, settlement)
        while self._begun:
            delivery = self._begun.popleft()
            if not delivery.has_run:
                delivery.is_forgotten = True
                intake.settle(delivery.message, Settlement.ACK)
