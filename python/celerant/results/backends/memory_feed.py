"""The feed of new records of this process; the threads that store push them."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue

from celerant.results.consuming.feed import CompleteFeed

__all__ = ["MemoryFeed"]


class MemoryFeed(CompleteFeed):
    """Holds the records that were stored since the last `receive`."""

    def __init__(self, feeds: set[MemoryFeed]) -> None:
        """Add this feed to the `feeds` of a store."""
        self._feeds = feeds
        self._records: deque[tuple[str, bytes]] = deque()
        #: Not an event: the garbage collector may call `wake` during a call of `wake`.
        self._news: SimpleQueue[None] = SimpleQueue()
        self._is_idle = False
        feeds.add(self)

    def push(self, task_id: str, payload: bytes) -> None:
        """Take a record, and wake the consumer if it waits."""
        self._records.append((task_id, payload))
        if self._is_idle:
            self._news.put(None)

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return the pushed records."""
        if not self._records:
            # Set before the check, so that a push in between wakes this thread.
            self._is_idle = True
            with suppress(Empty):
                if not self._records:
                    self._news.get(timeout=timeout)
                self._is_idle = False
                while True:
                    self._news.get_nowait()
            self._is_idle = False
        # Other threads may append meanwhile: take only the present records.
        return [self._records.popleft() for _ in range(len(self._records))]

    def wake(self) -> None:
        """Make `receive` return."""
        self._news.put(None)

    def reset(self) -> None:
        """Drop the pushed records."""
        self._records.clear()

    def close(self) -> None:
        """Get no more records."""
        self._feeds.discard(self)
