from __future__ import annotations

import math
import shutil
import uuid

import pytest
from kombu import Connection

from celerant import Celerant
from celerant.dispatch.wires import chunk_limits
from harness import services
from harness.celery_worker import CeleryWorker
from harness.noted_runs import NotedRuns
from harness.rabbitmq_server import own_rabbitmq
from harness.redis_server import RedisServer

REDIS_DATABASES = {"broker": 3, "backend": 4}
#: Databases for apps of one test each, which run workers of their own.
OWN_DATABASES = {"broker": 7, "backend": 8}


@pytest.fixture(autouse=True)
def near(monkeypatch):
    """Chunks of 500: on a busy machine every broker seems far."""
    monkeypatch.setattr(chunk_limits, "FAR", math.inf)


@pytest.fixture(scope="session")
def absent():
    """Return the function that skips a test that lacks something; in CI it fails."""
    return services.absent


@pytest.fixture(scope="module")
def redis_url():
    """URLs of two databases, for messages and for results.

    Not emptied: other runs of the tests may use them at the same time. Queues have
    names of their own and are deleted, results have ids of their own and expire.
    """
    services.require_redis()
    return {name: services.redis_url(db) for name, db in REDIS_DATABASES.items()}


@pytest.fixture(scope="module")
def rabbitmq_url():
    services.require_rabbitmq()
    return services.RABBITMQ


@pytest.fixture(scope="module")
def new_queue():
    """Return names of queues of the test's own; gone from RabbitMQ afterwards."""
    names = []

    def new() -> str:
        names.append(f"celerant-test-{uuid.uuid4().hex[:8]}")
        return names[-1]

    yield new
    if services.is_listening(services.RABBITMQ_PORT):
        with Connection(services.RABBITMQ) as connection:
            for name in names:
                connection.default_channel.queue_delete(name)
    if services.is_listening(services.REDIS_PORT):
        with services.redis_client(REDIS_DATABASES["broker"]) as client:
            for name in names:
                client.delete(*client.keys(f"*{name}*") or ["-"])


@pytest.fixture
def queue(new_queue):
    return new_queue()


@pytest.fixture
def own_urls(redis_url):
    """Brokers by name, and the result store, of apps of one test each."""
    return {
        "redis": services.redis_url(OWN_DATABASES["broker"]),
        "rabbitmq": services.RABBITMQ,
        "results": services.redis_url(OWN_DATABASES["backend"]),
    }


@pytest.fixture
def runs(own_urls, queue):
    """Where tasks note that they run."""
    made = NotedRuns(own_urls["results"], f"{queue}-runs")
    yield made
    made.client.close()


def _forget(broker: str, name: str) -> None:
    if broker == "rabbitmq":
        with Connection(services.RABBITMQ) as connection:
            channel = connection.default_channel
            channel.queue_delete(name)
            for exchange in (f"{name}.pidbox", f"reply.{name}.pidbox", f"{name}.ev"):
                channel.exchange_delete(exchange)
    with services.redis_client(OWN_DATABASES["broker"]) as client:
        client.delete(*client.keys(f"*{name}*") or ["-"])


@pytest.fixture
def make_app(request, own_urls):
    """Return apps with a queue and exchanges of their own, gone afterwards.

    `make_app("redis")`: all of them have the app's name in theirs.
    """
    made = []

    def make(broker):
        if broker == "rabbitmq":
            request.getfixturevalue("rabbitmq_url")
        name = f"celerant-test-{uuid.uuid4().hex[:8]}"
        app = Celerant(
            name,
            broker=own_urls[broker],
            backend=own_urls["results"],
            task_default_queue=name,
            result_expires=600,
            control_exchange=name,
            event_exchange=f"{name}.ev",
        )
        made.append((app, broker))
        return app

    yield make
    for app, broker in made:
        app.close()
        _forget(broker, app.name)


@pytest.fixture(scope="module")
def celery_worker():
    """Start stock workers: `celery_worker(broker=, backend=, queue=, ...)`."""
    running: list[CeleryWorker] = []

    def start(**options):
        worker = CeleryWorker(**options)
        running.append(worker)
        return worker.__enter__()

    yield start
    for worker in running:
        worker.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Redis of the module's own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def own_node(tmp_path_factory):
    """A RabbitMQ of the module's own: to be stopped, filled up or configured."""
    with own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node


@pytest.fixture
def redis_server(tmp_path):
    """Start Redis servers of the test's own: `redis_server(acl=, options=, port=)`."""
    if shutil.which("redis-server") is None:
        services.absent("redis-server on PATH")
    running: list[RedisServer] = []

    def start(**options):
        folder = tmp_path / f"redis-{len(running)}"
        folder.mkdir()
        server = RedisServer(folder, **options)
        running.append(server)
        return server.__enter__()

    yield start
    for server in running:
        server.stop()
