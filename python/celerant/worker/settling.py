"""Take settlements of messages from the slots to the broker."""

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

__all__ = ["Settles", "Settling"]

#: Seconds that a settlement may wait for others.
_LONG = 0.003
#: Seconds between the checks of `Settling.wait`.
_LOOK = 0.05


class Settles:
    """Settles messages at the broker; any thread may call it.

    The methods here do nothing, as messages need that no broker holds.
    """

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Have a message settled soon."""

    def settle_early(self, delivery: Delivery) -> bool:  # noqa: ARG002 - subclasses use it
        """Acknowledge a message whose task begins.

        Return whether its settlement is done with; if not, `settle` follows.
        """
        return True

    def tell(self) -> None:
        """Pass waiting settlements on now."""

    def tell_late(self) -> bool:
        """Pass on settlements that have waited long; return whether none is left."""
        return True

    def wait(self, seconds: float) -> None:
        """Pass settlements on, and wait up to `seconds` until the broker has them."""


class Settling(Settles):
    """Takes settlements from any thread; the thread that consumes passes them on."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Call `wake` to have `pass_on` called soon."""
        self._wake = wake
        #: Whether the intake settles many messages at a time.
        self.in_volleys = False
        #: The prefetch count; 0 is without limit.
        self.held = 0
        #: Has `tell_late` called a little later.
        self.ask_later: Callable[[], None] | None = None
        self._settled: deque[tuple[Any, int, Settlement]] = deque()
        #: Deliveries to acknowledge because their tasks have begun.
        self._begun: deque[Delivery] = deque()
        #: Whether the broker has all settlements that were passed on.
        self.is_told = threading.Event()
        self.is_told.set()
        #: The time (`monotonic`) of the last `pass_on`.
        self._told_at = 0.0

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Settle a message soon.

        If the intake settles in volleys, the settlement waits for `tell` or for others.
        """
        if not self.in_volleys:
            self._settled.append((delivery.message, delivery.generation, settlement))
            self._wake()
        elif not delivery.is_forgotten:
            self._settled.append((delivery.message, delivery.generation, settlement))
            if len(self._settled) * 2 >= self.held > 0:
                self._wake()

    def settle_early(self, delivery: Delivery) -> bool:
        """Acknowledge a message whose task begins; return whether that is done with.

        If the intake settles in volleys, the ack leaves soon, unless the task has run
        by then. Such a message is settled once its result is stored, so that neither is
        lost.
        """
        if not self.in_volleys:
            self.settle(delivery, Settlement.ACK)
            return True
        self._begun.append(delivery)
        if self.ask_later is not None:
            self.ask_later()
        return False

    def tell(self) -> None:
        """Have waiting settlements passed on now."""
        if self._settled or self._begun:
            self._wake()

    def tell_late(self) -> bool:
        """Have settlements passed on that have waited for long.

        Return whether none is left.
        """
        if not (self._settled or self._begun):
            return True
        if monotonic() - self._told_at < _LONG:
            return False
        self._wake()
        return True

    def wait(self, seconds: float) -> None:
        """Have settlements passed on, and wait up to `seconds` for the broker."""
        until = monotonic() + seconds
        # `pass_on` clears the event, and the end of the turn sets it.
        while self._settled or self._begun or not self.is_told.is_set():
            left = until - monotonic()
            if left <= 0:
                break
            self._wake()
            self.is_told.clear()
            self.is_told.wait(min(left, _LOOK))

    def pass_on(self, intake: Intake, generation: int) -> None:
        """Settle at `intake`, over the connection with the number `generation`."""
        self._told_at = monotonic()
        if self._settled or self._begun:
            # The end of the turn sets it.
            self.is_told.clear()
        while self._settled:
            message, of, settlement = self._settled.popleft()
            # When a connection was lost, the broker took back its unsettled messages.
            if intake.outlives or of == generation:
                intake.settle(message, settlement)
        while self._begun:
            delivery = self._begun.popleft()
            if delivery.has_run:
                continue
            if intake.outlives or delivery.generation == generation:
                delivery.is_forgotten = True
                intake.settle(delivery.message, Settlement.ACK)
