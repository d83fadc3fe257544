"""Messages that a source has received and no slot has begun."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from celerant._core import wall_time
from celerant.worker.message import Delivery
from celerant.worker.schedule import Schedule, held_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.refused import Refused

__all__ = ["Backlog"]


class Backlog:
    """Messages that are ready, wait for their eta, or are refused.

    The thread that consumes fills it, and the slots of the pool empty it.
    """

    def __init__(self, refuse: Callable[[Refused, str], None]) -> None:
        """Begin empty; the slots call `refuse` with each refused message."""
        self._refuse = refuse
        #: Deliveries that may run now, and refused messages with their queues.
        self.ready: deque[Delivery | tuple[Refused, str]] = deque()
        #: Deliveries whose eta has not come.
        self.held: Schedule[Delivery] = Schedule()

    def add(self, delivery: Delivery) -> None:
        """Add a delivery, which runs now or at its eta."""
        if delivery.due is not None and delivery.due > time.time():
            self.held.add(held_until(delivery.due), delivery)
        else:
            self.ready.append(delivery)

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries that did not begin in front of all others."""
        self.ready.extendleft(reversed(deliveries))

    def add_refused(self, refused: Refused, queue: str) -> None:
        """Add a refused message; a slot stores its failure, which may take long."""
        self.ready.append((refused, queue))

    def take(self) -> Delivery | None:
        """Return the next delivery to run now, None if there is none."""
        while True:
            if self.held:
                due = self.held.pop_due(wall_time())
                if due is not None:
                    return due
            try:
                item = self.ready.popleft()
            except IndexError:
                return None
            if isinstance(item, Delivery):
                return item
            self._refuse(*item)

    def waiting(self) -> bool:
        """Whether `take` may have something."""
        return bool(self.ready) or self.held.delay(wall_time(), 1.0) <= 0.0

    def unstarted(self) -> list[Delivery]:
        """Return all deliveries; they stay here."""
        ready = [item for item in list(self.ready) if isinstance(item, Delivery)]
        return ready + self.held.items()

    def empty(self) -> list[Delivery]:
        """Remove and return all deliveries; `refuse` gets the refused messages now."""
        unstarted = self.held.clear()
        while self.ready:
            item = self.ready.popleft()
            if isinstance(item, Delivery):
                unstarted.append(item)
            else:
                self._refuse(*item)
        return unstarted

    def drop(self) -> None:
        """Forget all messages: the broker still has them."""
        self.ready.clear()
        self.held.clear()

    def __len__(self) -> int:
        """Return how many messages wait, those before their eta included."""
        return len(self.ready) + len(self.held)
