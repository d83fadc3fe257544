from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from types import SimpleNamespace

import celery
import pytest
from celery import _state
from celery.backends.redis import RedisBackend
from celery.backends.rpc import RPCBackend
from kombu import Connection, pools
from kombu.serialization import loads

import celerant.celery
from celerant.celery import sending
from harness import services
from harness.capture import drain
from harness.celery_worker import CeleryWorker
from harness.oracle import comparable
from harness.tasks import TUNED_QUEUE, define_tasks

BROKERS = {
    "memory": "memory://",
    "redis": services.redis_url(5),
    "rabbitmq": services.RABBITMQ,
}
REQUIRE = {
    "redis": services.require_redis,
    "rabbitmq": services.require_rabbitmq,
}
RESULTS = services.redis_url(6)


@pytest.fixture
def lines_at(caplog):
    """Return the lines so far of Celerant's log at a level."""

    def lines(level):
        return [
            record.getMessage()
            for record in caplog.records
            if record.name == "celerant" and record.levelno == level
        ]

    return lines


@pytest.fixture(autouse=True)
def uninstalled():
    """Leave Celery as it was, after every test."""
    celerant.celery.uninstall()
    yield
    celerant.celery.uninstall()


@pytest.fixture
def volleys(monkeypatch):
    """How many members each volley had; 0 for one that turned to Celery's own path."""
    sent = []
    volley = sending._Sending._volley

    def counted(self, run, **said):
        is_sent = volley(self, run, **said)
        sent.append(len(run) if is_sent else 0)
        return is_sent

    monkeypatch.setattr(sending._Sending, "_volley", counted)
    return sent


@pytest.fixture
def make_app():
    """Make Celery apps with the test tasks: `make_app("redis", backend, **more)`."""
    before = _state._tls.current_app
    made = []

    def make(broker="memory", backend=None, **settings):
        REQUIRE.get(broker, lambda: None)()
        app = celery.Celery("swapin", broker=BROKERS[broker], backend=backend)
        app.conf.task_default_queue = f"celerant-swapin-{uuid.uuid4().hex[:8]}"
        # Without confirms, reading may overtake Celery's messages.
        if broker == "rabbitmq":
            app.conf.broker_transport_options = {"confirm_publish": True}
        app.conf.update(result_expires=600, **settings)
        tasks = define_tasks(app, shared=False)
        made.append((app, broker))
        return SimpleNamespace(
            app=app,
            url=BROKERS[broker],
            queue=app.conf.task_default_queue,
            **vars(tasks),
        )

    yield make
    for app, broker in made:
        with Connection(BROKERS[broker]) as connection:
            for queue in (app.conf.task_default_queue, TUNED_QUEUE):
                channel = connection.default_channel
                channel.queue_delete(queue)
                if broker == "redis":
                    # kombu keeps the bindings of a queue that is gone.
                    keys = [f"_kombu.binding{x}.{queue}" for x in ("", "_permanent")]
                    channel.client.delete(*keys)
        if isinstance(app.backend, RedisBackend):
            consumer = app.backend.result_consumer
            consumer.stop()
            # Results that are not awaited any more would connect it again.
            consumer._pubsub = None
            app.backend.client.connection_pool.disconnect()
        elif isinstance(app.backend, RPCBackend):
            app.backend.result_consumer.stop()
        app.close()
    # Apps of one URL share connections, which remember the queues just deleted.
    pools.reset()
    _state._set_current_app(before)


def decoded(message):
    """Return a message of any serializer with a body in JSON, without moments."""
    accept = {message.content_type}
    read = loads(
        message.body, message.content_type, message.content_encoding, accept=accept
    )
    headers = dict(message.headers)
    for moment in ("eta", "expires"):
        if headers[moment] is not None:
            # The form counts: with an offset or without.
            headers[moment] = re.sub(r"[0-9]", "0", headers[moment])
    properties = dict(message.properties)
    properties.pop("application_headers", None)
    if "expiration" in properties:
        properties["expiration"] = type(properties["expiration"]).__name__
    # RabbitMQ's own: about the message's place, not its contents.
    own = ("delivery_tag", "message_count", "redelivered")
    return replace(
        message,
        headers=headers,
        properties=properties,
        body=json.dumps(read, default=repr).encode(),
        delivery_info={k: v for k, v in message.delivery_info.items() if k not in own},
    )


@pytest.fixture
def one_way():
    """Send a function's canvas; return the messages in the queue."""

    def sent(side, send, queue=None, seen=lambda message: message):
        result = send()
        queues = [side.queue] if queue is None else [side.queue, queue]
        found = [
            seen(decoded(message))
            for name in queues
            for message in drain(side.url, name)
        ]
        return comparable(found, None if result is None else result.as_tuple())

    return sent


@pytest.fixture
def both_ways(volleys, one_way):
    """Send a canvas without and with the swap-in; return the messages of both."""

    def both(side, send, queue=None, **seen):
        stock = one_way(side, send, queue, **seen)
        assert not volleys
        with celerant.celery.install():
            return stock, one_way(side, send, queue, **seen)

    return both


@pytest.fixture
def celery_worker():
    """Start stock workers: `celery_worker(broker=, backend=, queue=, ...)`."""
    running = []

    def start(**options):
        running.append(CeleryWorker(**options))
        return running[-1].__enter__()

    yield start
    for worker in running:
        worker.stop()
