from __future__ import annotations

from collections import deque
from itertools import count
from threading import Event

import pytest

from celerant.results.backends import open_backend
from celerant.results.backends.base import Backend
from celerant.results.consuming.feed import Feed, FeedLostError
from celerant.results.tracking.members import sealed
from harness.groups import Fed, group_of

_names = count()


class FakeFeed(Feed):
    """Brings the records of a test, and fails when told to."""

    def __init__(self):
        self.records = deque()
        self.asked = []
        self.refused = set()
        self.lose = 0
        self.news = Event()

    def _ask(self, kind, what):
        self.asked.append((kind, what))
        return kind not in self.refused

    def subscribe(self, ids):
        return self._ask("ids", list(ids))

    def subscribe_prefix(self, prefix):
        return self._ask("prefix", prefix)

    def unsubscribe(self, ids):
        self._ask("no ids", list(ids))

    def unsubscribe_prefix(self, prefix):
        self._ask("no prefix", prefix)

    def receive(self, timeout):
        if self.lose:
            self.lose -= 1
            msg = "lost"
            raise FeedLostError(msg)
        if not self.records:
            self.news.wait(timeout)
        self.news.clear()
        return [self.records.popleft() for _ in range(len(self.records))]

    def wake(self):
        self.news.set()

    def reset(self):
        self.asked.append(("reset", None))

    def close(self):
        self.asked.append(("close", None))


class FakeBackend(Backend):
    """A store that pushes nothing by itself, and fails when told to."""

    connection_errors = (ConnectionError,)

    def __init__(self, **settings):
        super().__init__("fake://:secret@host//", **settings)
        self.retry_policy = {"max_retries": 3}
        self.records = {}
        self.fetched = []
        self.broken = 0
        self.feed = FakeFeed()

    def fetch(self, ids):
        self.fetched.append(list(ids))
        if self.broken:
            self.broken -= 1
            msg = "gone"
            raise ConnectionError(msg)
        return [self.records.get(task_id) for task_id in ids]

    def store(self, task_id, payload, *, expires):  # noqa: ARG002 - kept for ever
        self.records[task_id] = payload

    def push(self, task_id, result, state="SUCCESS"):
        """Tell the listeners, and store nothing."""
        payload = self.codec.encode(task_id, result, state, None, None)
        self.feed.records.append((task_id, payload))
        self.feed.wake()

    def forget(self, ids):
        for task_id in ids:
            self.records.pop(task_id, None)

    def open_feed(self):
        return self.feed


@pytest.fixture
def fake():
    backend = FakeBackend()
    yield backend
    backend.close()


@pytest.fixture
def memory():
    backend = open_backend("memory://", name=f"results-{next(_names)}")
    yield backend
    backend.close()


@pytest.fixture(name="group_of")
def _group_of():
    return group_of


@pytest.fixture(name="sealed")
def _sealed():
    return sealed


@pytest.fixture
def fed(memory):
    """A group of three members so far."""
    fed = Fed(memory)
    fed.grow(3)
    return fed
