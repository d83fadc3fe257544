"""A retry goes where Celery sends it, however its message came."""

from __future__ import annotations

import uuid
from contextlib import contextmanager

import celery
import celery.exceptions
import pytest
from kombu import Connection, Exchange, Queue

import celerant
from celerant.context.request import Request, current_request
from harness.capture import drain

TOPIC = Exchange("routes-topic", "topic")
NAMES = ("routes", "routes-topic", "routes-direct", "routes-other")
QUEUES = [
    Queue("routes", Exchange("routes"), routing_key="routes"),
    Queue("routes-topic", TOPIC, routing_key="a.#"),
    Queue("routes-direct", Exchange("routes-direct"), routing_key="key"),
    Queue("routes-other", Exchange("routes-other"), routing_key="other"),
]

#: How the message of the first run came.
CAME = {
    "default": {"exchange": "", "routing_key": "routes", "priority": None},
    "queue": {"exchange": "", "routing_key": "routes-direct", "priority": 3},
    "topic": {"exchange": "routes-topic", "routing_key": "a.b", "priority": 3},
    "direct": {"exchange": "routes-direct", "routing_key": "key", "priority": None},
}
#: What `self.retry` is told.
TOLD = {
    "nothing": {},
    "queue": {"queue": "routes-other"},
    "queue-priority": {"queue": "routes-other", "priority": 7},
    "queue-key": {"queue": "routes-topic", "routing_key": "a.c"},
    "new-queue": {"queue": "routes-new"},
    "exchange": {"exchange": "routes-direct"},
    "exchange-key": {"exchange": "routes-direct", "routing_key": "key"},
    "key": {"routing_key": "a.d"},
    "topic-key": {"exchange": "routes-topic", "routing_key": "a.d"},
    "priority": {"priority": 7},
    "empty-queue": {"queue": ""},
}


@pytest.fixture(scope="module")
def apps():
    # As workers do that have taken the first message.
    with Connection("memory://") as connection:
        for queue in QUEUES:
            queue(connection.channel()).declare()
    settings = {"task_queues": QUEUES, "task_default_queue": "routes"}
    stock = celery.Celery("routes", broker="memory://", set_as_current=False)
    stock.conf.update(settings)
    ours = celerant.Celerant("routes", broker="memory://", **settings)
    yield stock, ours
    ours.close()
    stock.close()


def nothing():
    """Never run."""


@contextmanager
def stock_run(task, **about):
    task.push_request(called_directly=False, is_eager=False, **about)
    try:
        yield
    finally:
        task.pop_request()


@contextmanager
def our_run(task, **about):
    request = Request(about.pop("id"), task.name, **about)
    token = current_request.set(request)
    try:
        yield
    finally:
        current_request.reset(token)
    for again in request.successors:
        again.apply_async()


def places(task, runs, came, told):
    """Return where the retry's message has gone."""
    about = {"id": str(uuid.uuid4()), "args": (), "kwargs": {}, "retries": 0}
    with runs(task, delivery_info=dict(came), **about):
        task.retry(countdown=0, throw=False, **told)
    found = []
    for queue in (*NAMES, "routes-new"):
        for message in drain("memory://", queue):
            info, priority = message.delivery_info, message.properties.get("priority")
            found.append((queue, info["exchange"], info["routing_key"], priority))
    return found


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("came", CAME)
def test_retry_goes_where_celery_sends_it(apps, came, told):
    stock, ours = apps
    theirs = stock.task(name="routes.job", shared=False)(nothing)
    mine = ours.task(name="routes.job")(nothing)
    expected = places(theirs, stock_run, CAME[came], TOLD[told])
    # A named exchange that has no queue for the key drops the message.
    is_lost = (came, told) in {("topic", "exchange"), ("direct", "key")}
    assert len(expected) == (not is_lost)
    assert places(mine, our_run, CAME[came], TOLD[told]) == expected
