"""A few things that are dear to make, kept while they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from celerant._core import monotonic
from celerant.common.per_process import PerProcess

__all__ = ["LatelyUsed"]

T = TypeVar("T")


class LatelyUsed(Generic[T]):
    """Values by key, for any thread; those not asked for lately go first.

    Args:
        most: How many are kept.
        age: Seconds after which a value is made anew.
    """

    def __init__(self, most: int, age: float) -> None:
        self._most = most
        self._age = age
        self._lock = PerProcess(threading.Lock)
        #: (monotonic time of making, value), the last used at the end.
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; make it if there is none."""
        found = self.find(key)
        if found is None:
            # Without the lock: it may take a round trip. Two threads may both make one.
            found = make()
            self.put(key, found)
        return found

    def find(self, key: Hashable) -> T | None:
        """Return the value of a key; None if there is none."""
        now = monotonic()
        with self._lock.get():
            made_at, value = self._kept.get(key, (0.0, None))
            if value is None or now - made_at > self._age:
                return None
            self._kept.move_to_end(key)
            return value

    def put(self, key: Hashable, value: T) -> None:
        """Keep a value."""
        with self._lock.get():
            self._kept[key] = monotonic(), value
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
