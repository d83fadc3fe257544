"""Consume from kombu's in-process queues without polling.

kombu's own loop checks an empty memory queue once a second. Here the threads of the
pool take from the queues themselves, and a put wakes them.
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
from celerant.running.policy import Settlement
from celerant.worker.memory_message import MemoryMessage
from celerant.worker.message import Delivery, Reader
from celerant.worker.refused import Refused
from celerant.worker.schedule import Schedule, held_until
from celerant.worker.settling import Settles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


__all__ = ["MemorySource"]

logger = logging.getLogger("celerant.worker")

#: Seconds between checks for a queue that was deleted and made again.
_LOOK_INTERVAL = 1.0
#: Seconds between checks of a queue that does not tell of puts.
_POLL_INTERVAL = 0.01

_NOTHING = object()


class _Notifying(threading.Condition):
    """A queue's `not_empty` that also calls listeners at every put."""

    def __init__(self, mutex: Any) -> None:
        super().__init__(mutex)
        #: Called with the queue's lock held.
        self.listeners: tuple[Callable[[int], None], ...] = ()

    def notify(self, n: int = 1) -> None:
        super().notify(n)
        for tell in self.listeners:
            tell(n)


def _pop(store: Any) -> Any:
    """Take an item from a queue; return `_NOTHING` if it is empty.

    A slot does not wait for the queue's lock while it holds the interpreter's. Two
    slots that did so would hand both locks over at every task from then on.
    """
    try:
        mutex, items = store.mutex, store.queue
    except AttributeError:
        return _got(store)
    while items:
        if mutex.acquire(blocking=False):
            try:
                return items.popleft() if items else _NOTHING
            finally:
                mutex.release()
        # The holder of the lock waits for the interpreter.
        time.sleep(0)
    return _NOTHING


def _got(store: Any) -> Any:
    try:
        return store.get(block=False)
    except Empty:
        return _NOTHING


def _notifies(store: Any) -> bool:
    """Whether a queue can call listeners at a put; gevent's queues cannot."""
    return hasattr(store, "mutex")


class MemorySource(Settles):
    """Messages from some in-process queues, given out one at a time.

    It prefetches nothing, so several workers share a queue evenly. When it stops, only
    messages with an eta go back. The threads of the pool call `take` and settle
    messages; one thread calls `run`, which wakes the pool.
    """

    def __init__(
        self,
        connection: Any,
        queues: Sequence[Any],
        reader: Reader,
        refuse: Callable[[Refused, str], None],
        arrived: Callable[[Delivery], None],
    ) -> None:
        """Consume `queues` (kombu's) of `connection`; `open` begins."""
        self._connection = connection
        self._queues = queues
        self._channel: Any = None
        self._reader = reader
        self._refuse = refuse
        self._arrived = arrived
        self._names: list[str] = []
        self._held: Schedule[Delivery] = Schedule()
        #: Deliveries that were taken and did not begin.
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
        return [self._channel._queue_for(name) for name in self._names]  # noqa: SLF001 - kombu has no public one

    def _listen(self) -> None:
        for store in filter(_notifies, self._stores()):
            with store.mutex:
                if not isinstance(store.not_empty, _Notifying):
                    # Replaced safely: no thread waits on it, for kombu does not block.
                    store.not_empty = _Notifying(store.mutex)
                if self._on_put not in store.not_empty.listeners:
                    store.not_empty.listeners += (self._on_put,)

    def _on_put(self, count: int) -> None:
        # The thread that puts wakes slots itself; the thread of `run` would be slower.
        if self._wake is not None:
            self._wake(count)

    def run(self, wake: Callable[[int], None]) -> None:
        """Until `stop`, wake the pool whenever a message can be taken."""
        self._wake = wake
        while not self._stopping.is_set():
            # Cleared first, so that a later put is seen here or sets it again.
            self._changed.clear()
            self._listen()
            waiting = self.ready()
            if waiting:
                wake(waiting)
            # If no slot is idle, the next one that ends takes the due message.
            tells = all(map(_notifies, self._stores()))
            longest = _LOOK_INTERVAL if tells else _POLL_INTERVAL
            delay = self._held.delay(wall_time(), longest)
            self._changed.wait(delay or longest)
        self._finished.wait()
        self._release()

    def stop(self) -> None:
        """Stop waking the pool."""
        self._wake = None
        self._stopping.set()
        self._changed.set()

    def close(self) -> None:
        """Let `run` give back held messages and end; called once no task runs."""
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
        """Return the deliveries that have not begun."""
        return [*self._returned.copy(), *self._held.items()]

    def queues(self) -> list[Any]:
        """Return the queues (kombu's) that it takes from."""
        return list(self._queues)

    def add_queue(self, queue: Any) -> None:
        """Take from one more queue (kombu's)."""
        if queue.name in self._names:
            return
        queue(self._channel).declare()
        # New lists, because other threads may be iterating over the old ones.
        self._queues = [*self._queues, queue]
        self._names = [*self._names, queue.name]
        self._changed.set()

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Make the meant deliveries due now instead of at their eta."""
        if self._held.hasten(is_meant):
            self._changed.set()

    def cancel_queue(self, name: str) -> None:
        """Stop taking from a queue; its messages stay there."""
        self._queues = [queue for queue in self._queues if queue.name != name]
        self._names = [other for other in self._names if other != name]

    def resize(self, slots: int) -> None:
        """Do nothing: it prefetches no messages."""

    def about(self) -> dict[str, Any]:
        """Return the broker's part of ``celery inspect stats``."""
        return {"broker": {"transport": "memory"}, "prefetch_count": 0}

    def take(self) -> Delivery | None:
        """Return the next delivery to run now; None if there is none."""
        if self._held or self._returned:
            again = self._take_again()
            if again is not None:
                return again
        for name in self._names:
            store = self._channel._queue_for(name)  # noqa: SLF001 - see `_stores`
            while True:
                raw = _pop(store)
                if raw is _NOTHING:
                    break
                try:
                    delivery = self._reader.read(self._message(raw))
                except Refused as refused:
                    self._refuse(refused, name)
                    continue
                delivery.queue = name
                self._arrived(delivery)
                if delivery.due is None or delivery.due <= time.time():
                    return delivery
                # The queue is in this process too, so holding it costs the same.
                if self._held.add(held_until(delivery.due), delivery):
                    self._changed.set()
        return None

    def _take_again(self) -> Delivery | None:
        """Return a delivery that is due, or was put back; None if there is none."""
        due = self._held.pop_due(wall_time())
        if due is None:
            with contextlib.suppress(IndexError):
                return self._returned.popleft()
        return due

    def _message(self, raw: Any) -> Any:
        try:
            return MemoryMessage.of_queue(raw, self._channel, self._reader.longest)
        except Exception as exc:
            msg = f"it is no message but {shown(raw)}"
            raise Refused(msg, None) from exc

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Take back deliveries that did not begin; they are the next to go out."""
        self._returned.extendleft(reversed(deliveries))
        if self._wake is not None:
            self._wake(len(deliveries))

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Put a message back if it is to be requeued; else do nothing."""
        if settlement is Settlement.REQUEUE:
            self._put_back(delivery)

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
