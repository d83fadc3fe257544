"""Messages that wait for their time, the next one first."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import Generic, TypeVar

__all__ = ["Schedule"]

T = TypeVar("T")


class Schedule(Generic[T]):
    """A heap of items by the time they are due; safe between threads.

    Times are seconds since the epoch (`time.time`), for an eta is a wall time.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: float, item: T) -> bool:
        """Hold `item` until `due`; say whether it is the next one now."""
        with self._lock:
            entry = (due, next(self._order), item)
            heapq.heappush(self._heap, entry)
            return self._heap[0] is entry

    def pop_due(self, now: float) -> T | None:
        """Return an item whose time has come, if there is one."""
        # Every slot asks before each task: a lock only where there is something.
        try:
            if self._heap[0][0] > now:
                return None
        except IndexError:
            return None
        with self._lock:
            if not self._heap or self._heap[0][0] > now:
                return None
            return heapq.heappop(self._heap)[2]

    def delay(self, now: float, longest: float) -> float:
        """Return the seconds until the next item is due, `longest` at most."""
        with self._lock:
            if not self._heap:
                return longest
            return min(longest, max(0.0, self._heap[0][0] - now))

    def next_due(self) -> float | None:
        """Return when the next item is due, None where nothing is held."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def items(self) -> list[T]:
        """Return all items, the next one first."""
        with self._lock:
            return [item for _, _, item in sorted(self._heap, key=lambda e: e[:2])]

    def clear(self) -> list[T]:
        """Take all items out."""
        with self._lock:
            items = [item for _, _, item in sorted(self._heap, key=lambda e: e[:2])]
            self._heap.clear()
            return items
