from __future__ import annotations

import os
import shutil
import socket
import uuid

import pytest
import redis
from kombu import Connection

from harness.celery_worker import CeleryWorker
from harness.redis_server import RedisServer

REDIS_DATABASES = {"broker": 3, "backend": 4}
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


def _absent(what: str) -> None:
    reason = f"{what} is absent: start it to run this test"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def absent():
    """Return what skips a test that lacks something; in CI it fails."""
    return _absent


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def redis_url():
    """URLs of two databases, for messages and for results.

    Not emptied: other runs of the tests may use them at the same time. Queues have
    names of their own and are deleted, results have ids of their own and expire.
    """
    if not _listening(6379):
        _absent("Redis at 127.0.0.1:6379")
    return {
        name: f"redis://127.0.0.1:6379/{db}" for name, db in REDIS_DATABASES.items()
    }


@pytest.fixture(scope="module")
def rabbitmq_url():
    if not _listening(5672):
        _absent("RabbitMQ at 127.0.0.1:5672")
    return RABBITMQ


@pytest.fixture(scope="module")
def new_queue():
    """Return names of queues of the test's own; gone from RabbitMQ afterwards."""
    names = []

    def new() -> str:
        names.append(f"celerant-test-{uuid.uuid4().hex[:8]}")
        return names[-1]

    yield new
    if _listening(5672):
        with Connection(RABBITMQ) as connection:
            for name in names:
                connection.default_channel.queue_delete(name)
    if _listening(6379):
        with redis.Redis(db=REDIS_DATABASES["broker"]) as client:
            for name in names:
                client.delete(*client.keys(f"*{name}*") or ["-"])


@pytest.fixture
def queue(new_queue):
    return new_queue()


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


@pytest.fixture
def redis_server(tmp_path):
    """Start Redis servers of the test's own: `redis_server(acl=, options=, port=)`."""
    if shutil.which("redis-server") is None:
        _absent("redis-server on PATH")
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
