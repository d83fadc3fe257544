"""An app of fakes around the real worker, on kombu's memory transport."""

from __future__ import annotations

import json
import threading
import uuid
from collections import defaultdict

import pytest
from kombu import Connection, Exchange, Queue

from celerant.config import Settings

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class FakeTask:
    def __init__(self, name, run, **options):
        self.name = name
        self.run = run
        self.throws = ()
        self.hooks = frozenset()
        self.takes_header = False
        self.ignore_result = False
        self.acks_late = False
        self.acks_on_failure = None
        self.acks_on_failure_or_timeout = None
        self.acks_on_timeout = None
        self.retry_on_worker_lost = None
        self.reject_on_worker_lost = None
        self.store_errors_even_if_ignored = False
        self.track_started = False
        self.send_events = None
        self.time_limit = None
        self.soft_time_limit = None
        self.__dict__.update(options)

    def __call__(self, *args, **kwargs):
        return self.run(*args, **kwargs)


class FakeBackend:
    """Keeps stored records, and lets tests wait for them."""

    def __init__(self):
        self.stored = defaultdict(list)
        self.failing = []
        self._changed = threading.Condition()

    def encode_result(self, _id, result, state, traceback=None, *, request=None):
        if state == "SUCCESS":
            json.dumps(result)
        return result, traceback, request

    def is_away(self, exc):
        return isinstance(exc, OSError)

    def store_encoded(self, task_id, payload, state, *, request=None):
        result, traceback, request = payload
        with self._changed:
            if self.failing:
                raise self.failing.pop(0)
            self.stored[task_id].append((state, result, traceback, request))
            self._changed.notify_all()

    def last(self, task_id, timeout=10):
        """Return (state, result) once the task has ended."""
        with self._changed:
            kept = self.stored[task_id]
            ended = self._changed.wait_for(
                lambda: kept and kept[-1][0] != "STARTED", timeout
            )
            assert ended, f"no result of {task_id}"
            return kept[-1][:2]


class _Queues(dict):
    def __init__(self, default):
        self.declared = (default,)

    def __missing__(self, name):
        queue = self[name] = Queue(name, Exchange(name), routing_key=name)
        return queue


class FakeApp:
    name = "fake"

    def __init__(self, queue):
        self.queue = queue
        self.conf = Settings(queue)
        self.conf.worker_concurrency = 2
        self.tasks = {}
        self.queues = _Queues(queue)
        self.backend = FakeBackend()

    def task(self, name, run, **options):
        self.tasks[name] = FakeTask(name, run, **options)

    def connection_for_read(self):
        return Connection("memory://")

    connection_for_write = connection_for_read

    def send(self, name, *args, body=None, queue=None, headers=None, **kwargs):
        """Publish a message of protocol 2 and return its id."""
        task_id = str(uuid.uuid4())
        made = make_headers(name, task_id, **(headers or {}))
        if body is None:
            body = json.dumps([args, kwargs, EMBED])
        with Connection("memory://") as connection:
            channel = connection.default_channel
            self.queues[queue or self.queue](channel).declare()
            connection.Producer().publish(
                body,
                headers=made,
                exchange="",
                routing_key=queue or self.queue,
                content_type="application/json",
                content_encoding="utf-8",
            )
        return task_id

    def left(self):
        """Return how many messages wait in the default queue."""
        with Connection("memory://") as connection:
            return connection.default_channel._size(self.queue)


def make_headers(name, task_id, **changed):
    headers = {
        "lang": "py",
        "task": name,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "timelimit": [None, None],
        "ignore_result": None,
        "shadow": None,
        "origin": "gen1@here",
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "stamped_headers": None,
        "stamps": {},
        "replaced_task_nesting": 0,
    }
    headers.update(changed)
    return headers


@pytest.fixture
def app():
    """An app with a queue of its own."""
    return FakeApp(f"celerant-h3-{uuid.uuid4()}")


@pytest.fixture
def headers():
    """Return a function that makes the headers of a message."""
    return make_headers
