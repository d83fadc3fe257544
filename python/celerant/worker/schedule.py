"""Messages that wait for their eta, the earliest first."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from celerant._core import wall_time

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Schedule", "held_until"]

T = TypeVar("T")


class Schedule(Generic[T]):
    """A heap of items by the times at which they are due; safe between threads.

    Times are seconds since the epoch by `wall_time`, because an eta is a wall time.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: float, item: T) -> bool:
        """Hold `item` until `due`; return whether it is the earliest now."""
        with self._lock:
            entry = (due, next(self._order), item)
            heapq.heappush(self._heap, entry)
            return self._heap[0] is entry

    def hasten(self, is_meant: Callable[[T], bool]) -> bool:
        """Make all meant items due now; return whether there are any."""
        with self._lock:
            meant = [entry for entry in self._heap if is_meant(entry[2])]
            if meant:
                rest = [entry for entry in self._heap if entry not in meant]
                self._heap = [(0.0, number, item) for _, number, item in meant] + rest
                heapq.heapify(self._heap)
            return bool(meant)

    def pop_due(self, now: float) -> T | None:
        """Remove and return an item that is due; None if there is none."""
        # Every slot calls this before each task, so it locks only if an item is due.
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
        """Return the seconds until the earliest item is due, at most `longest`."""
        with self._lock:
            if not self._heap:
                return longest
            return min(longest, max(0.0, self._heap[0][0] - now))

    def next_due(self) -> float | None:
        """Return the time at which the earliest item is due; None if there is none."""
        with self._lock:
            return self._heap[0][0] if self._heap else None

    def items(self) -> list[T]:
        """Return all items, the earliest first."""
        with self._lock:
            return [item for _, _, item in sorted(self._heap, key=lambda e: e[:2])]

    def clear(self) -> list[T]:
        """Remove and return all items, the earliest first."""
        with self._lock:
            items = [item for _, _, item in sorted(self._heap, key=lambda e: e[:2])]
            self._heap.clear()
            return items


def held_until(due: float) -> float:
    """Return the time of an eta by `wall_time`, in seconds since the epoch.

    A test may have frozen the clock that set the eta. A task that is due in a second is
    still due in a second then.
    """
    return wall_time() + (due - time.time())
