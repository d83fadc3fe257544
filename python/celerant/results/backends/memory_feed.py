"""New records of this process, pushed by the threads that store them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from celerant.results.consuming.feed import Feed

__all__ = ["MemoryFeed"]


class MemoryFeed(Feed):
    """The records that were stored since the last look."""

    is_complete = True

    def __init__(self, feeds: set[MemoryFeed]) -> None:
        """Be one of the `feeds` of a store."""
        self._feeds = feeds
        self._records: deque[tuple[str, bytes]] = deque()
        #: Unlike an event, it may be set by the collector while it is being set.
        self._news: SimpleQueue[None] = SimpleQueue()
        self._is_idle = False
        feeds.add(self)

    def push(self, task_id: str, payload: bytes) -> None:
        """Take a record; wakes the consumer only if it waits."""
        self._records.append((task_id, payload))
        if self._is_idle:
            self._news.put(None)

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return the pushed records."""
        if not self._records:
            # Set first, looked second: a push in between sets the event.
            self._is_idle = True
            with suppress(Empty):
                if not self._records:
                    self._news.get(timeout=timeout)
                self._is_idle = False
                while True:
                    self._news.get_nowait()
            self._is_idle = False
        # A push by several threads may still append: take the records that are there.
        return [self._records.popleft() for _ in range(len(self._records))]

    def wake(self) -> None:
        """Make `receive` return."""
        self._news.put(None)

    def subscribe(self, ids: Sequence[str]) -> bool:  # noqa: ARG002 - all are pushed
        """Do nothing: every record is pushed."""
        return True

    def subscribe_prefix(self, prefix: str) -> bool:  # noqa: ARG002 - all are pushed
        """Do nothing: every record is pushed."""
        return True

    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Do nothing: every record is pushed."""

    def unsubscribe_prefix(self, prefix: str) -> None:
        """Do nothing: every record is pushed."""

    def reset(self) -> None:
        """Forget the pushed records."""
        self._records.clear()

    def close(self) -> None:
        """Get no more records."""
        self._feeds.discard(self)
