"""Which members of a group have run, as their tasks note it."""

from __future__ import annotations

from collections import Counter

import redis

__all__ = ["NotedRuns"]


class NotedRuns:
    """A list in Redis that tasks add their index to."""

    def __init__(self, url: str, key: str) -> None:
        self.client = redis.Redis.from_url(url)
        self.key = key

    def note(self, index: int) -> None:
        """Note a run; for the task."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.rpush(self.key, index).expire(self.key, 600).execute()

    def counts(self) -> Counter[int]:
        """Return how often each member has run."""
        return Counter(map(int, self.client.lrange(self.key, 0, -1)))

    def seen(self) -> list[int]:
        """Return the member of each run, ascending."""
        return sorted(self.counts().elements())
