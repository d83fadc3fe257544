"""Consume from kombu's in-process queues without polling.

kombu's own loop sleeps a second between looks at an empty memory queue. Here the
threads of the pool take from the queues themselves, and a put wakes the worker.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any

from celerant._core import wall_time
from celerant.common.printable import shown
from celerant.common.unopened import leave_unopened
from celerant.running.logged import logged
from celerant.running.policy import Settlement
from celerant.worker.memory_message import MemoryMessage
from celerant.worker.message import Delivery, Reader
from celerant.worker.refused import Refused
from celerant.worker.schedule import Schedule, held_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.events import Events

__all__ = ["MemorySource"]

logger = logging.getLogger("celerant.worker")

#: Seconds between looks for a queue that was deleted and made again.
_LOOK_INTERVAL = 1.0
#: The same where a queue cannot tell of what is put.
_POLL_INTERVAL = 0.01

_NOTHING = object()


class _Notifying(threading.Condition):
    """A queue's `not_empty` that also tells listeners of every put."""

    def __init__(self, mutex: Any) -> None:
        super().__init__(mutex)
        #: Called with the queue's lock held.
        self.listeners: tuple[Callable[[int], None], ...] = ()

    def notify(self, n: int = 1) -> None:
        super().notify(n)
        for tell in self.listeners:
            tell(n)


def _pop(store: Any) -> Any:
    """Take an item out of a queue, `_NOTHING` where it is empty.

    Nobody waits for the queue's lock while he holds the interpreter's: two slots that
    do so hand both over at every task from then on.
    """
    if not _notifies(store):
        try:
            return store.get(block=False)
        except Empty:
            return _NOTHING
    while store.queue:
        if store.mutex.acquire(blocking=False):
            try:
                return store.queue.popleft() if store.queue else _NOTHING
            finally:
                store.mutex.release()
        # Its holder waits for the interpreter.
        time.sleep(0)
    return _NOTHING


def _notifies(store: Any) -> bool:
    """Whether a queue can tell of what is put: those of gevent cannot."""
    return hasattr(store, "mutex")


class MemorySource:
    """The messages of some in-process queues, given out one at a time.

    Nothing is prefetched, so several workers share a queue evenly and a stop has
    only messages with an eta to give back.
    """

    def __init__(
        self,
        connection: Any,
        queues: Sequence[Any],
        reader: Reader,
        refuse: Callable[[Refused, str], None],
        events: Events,
    ) -> None:
        """Take `queues` (of kombu) from `connection`; `open` begins."""
        self._connection = connection
        self._queues = queues
        self._channel: Any = None
        self._reader = reader
        self._refuse = refuse
        self._events = events
        self._names: list[str] = []
        self._held: Schedule[Delivery] = Schedule()
        #: What was taken and did not begin.
        self._returned: deque[Delivery] = deque()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._wake: Callable[[int], None] | None = None

    def open(self) -> None:
        """Declare the queues and listen to them."""
        self._channel = self._connection.default_channel
        leave_unopened(self._channel, self._reader.limits)
        for queue in self._queues:
            bound = queue(self._channel)
            bound.declare()
            self._names.append(bound.name)
        self._listen()

    def _stores(self) -> list[Any]:
        return [self._channel._queue_for(name) for name in self._names]  # noqa: SLF001 - kombu has no other way to them

    def _listen(self) -> None:
        for store in filter(_notifies, self._stores()):
            with store.mutex:
                if not isinstance(store.not_empty, _Notifying):
                    # Nobody waits on it: kombu takes without blocking.
                    store.not_empty = _Notifying(store.mutex)
                if self._on_put not in store.not_empty.listeners:
                    store.not_empty.listeners += (self._on_put,)

    def _on_put(self, count: int) -> None:
        # Who puts wakes slots itself: by way of the thread of `run` they are late.
        if self._wake is not None:
            self._wake(count)

    def run(self, wake: Callable[[int], None]) -> None:
        """Wake the pool whenever something can be taken, until `stop`."""
        self._wake = wake
        while not self._stopping.is_set():
            # Clear first: a put after it is seen here or sets it again.
            self._changed.clear()
            self._listen()
            waiting = self.ready()
            if waiting:
                wake(waiting)
            # What is due but finds no idle slot is taken by the next that ends.
            tells = all(map(_notifies, self._stores()))
            longest = _LOOK_INTERVAL if tells else _POLL_INTERVAL
            delay = self._held.delay(wall_time(), longest)
            self._changed.wait(delay or longest)
        self._finished.wait()
        self._release()

    def stop(self) -> None:
        """Wake the pool no more."""
        self._wake = None
        self._stopping.set()
        self._changed.set()

    def close(self) -> None:
        """Let `run` give back what is held and end, when nothing runs any more."""
        self._finished.set()
        self.stop()

    def waiting(self) -> bool:
        """Whether `take` may have something."""
        return self.ready() > 0

    def ready(self) -> int:
        """Return how many `take` may give at once."""
        ready: int = sum(store.qsize() for store in self._stores())
        ready += len(self._returned)
        return ready + (self._held.delay(wall_time(), 1.0) <= 0.0)

    def unstarted(self) -> list[Delivery]:
        """Return what is held here and does not run yet."""
        return [*self._returned.copy(), *self._held.items()]

    def queues(self) -> list[Any]:
        """Return the queues it takes from."""
        return list(self._queues)

    def add_queue(self, queue: Any) -> None:
        """Take from one more queue (of kombu)."""
        if queue.name in self._names:
            return
        queue(self._channel).declare()
        # New lists: others go through the old ones at this moment.
        self._queues = [*self._queues, queue]
        self._names = [*self._names, queue.name]
        self._changed.set()

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Give out at once what is held and meant."""
        if self._held.hasten(is_meant):
            self._changed.set()

    def cancel_queue(self, name: str) -> None:
        """Take from a queue no more; what it holds stays there."""
        self._queues = [queue for queue in self._queues if queue.name != name]
        self._names = [other for other in self._names if other != name]

    def resize(self, slots: int) -> None:
        """Do nothing: no message is held for a slot."""

    def about(self) -> dict[str, Any]:
        """Return what ``celery inspect stats`` tells of the broker."""
        return {"broker": {"transport": "memory"}, "prefetch_count": 0}

    def take(self) -> Delivery | None:
        """Return the next delivery to run now, None where there is none."""
        due = self._held.pop_due(wall_time())
        if due is not None:
            return due
        with contextlib.suppress(IndexError):
            if self._returned:
                return self._returned.popleft()
        for name in self._names:
            while True:
                raw = _pop(self._channel._queue_for(name))  # noqa: SLF001 - see `_stores`
                if raw is _NOTHING:
                    break
                try:
                    delivery = self._reader.read(self._message(raw))
                except Refused as refused:
                    self._refuse(refused, name)
                    continue
                delivery.queue = name
                if self._events.tells_tasks:
                    with logged("telling monitors of", delivery.request):
                        self._events.received(delivery)
                if delivery.due is None or delivery.due <= time.time():
                    return delivery
                # The broker is this process's memory: holding it here costs the same.
                if self._held.add(held_until(delivery.due), delivery):
                    self._changed.set()
        return None

    def _message(self, raw: Any) -> Any:
        try:
            return MemoryMessage.read(raw, self._channel)
        except Exception as exc:
            msg = f"it is no message but {shown(raw)}"
            raise Refused(msg, None) from exc

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Give out once more, before all else, what was taken and did not begin."""
        self._returned.extendleft(reversed(deliveries))
        if self._wake is not None:
            self._wake(len(deliveries))

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Put a message back if wanted; it left the queue when it was taken."""
        if settlement is Settlement.REQUEUE:
            self._put_back(delivery)

    def settle_early(self, _delivery: Delivery) -> bool:
        """Do nothing: it left the queue when it was taken."""
        return True

    def tell(self) -> None:
        """Do nothing: nothing waits."""

    def wait(self, seconds: float) -> None:
        """As `tell`."""

    def tell_late(self) -> bool:
        """As `tell`."""
        return True

    def _put_back(self, delivery: Delivery) -> None:
        raw = delivery.message.serializable()
        raw["properties"].setdefault("delivery_info", {})["redelivered"] = True
        self._channel._queue_for(delivery.queue).put(raw)  # noqa: SLF001 - see `_stores`

    def _release(self) -> None:
        for delivery in (*self._returned, *self._held.clear()):
            self._put_back(delivery)
        self._returned.clear()
        left = 0
        for store in filter(_notifies, self._stores() if self._channel else ()):
            with store.mutex:
                listening = getattr(store.not_empty, "listeners", ())
                store.not_empty.listeners = others = tuple(
                    tell for tell in listening if tell != self._on_put
                )
                left += 0 if others else store._qsize()  # noqa: SLF001 - its lock is held
        if left:
            logger.warning(
                "%d messages stay unstarted in %s, where no other worker takes them; "
                "they last as long as this process",
                left,
                ", ".join(self._names),
            )
        self._connection.release()
