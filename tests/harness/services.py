"""The Redis and the RabbitMQ that run on the machine, for all tests."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest
import redis

__all__ = [
    "RABBITMQ",
    "RABBITMQ_PORT",
    "REDIS_PORT",
    "absent",
    "is_listening",
    "redis_client",
    "redis_url",
    "require_rabbitmq",
    "require_redis",
]

REDIS_PORT = int(os.environ.get("CELERANT_TEST_REDIS_PORT", "6379"))
RABBITMQ_PORT = int(os.environ.get("CELERANT_TEST_RABBITMQ_PORT", "5672"))
RABBITMQ = f"amqp://guest:guest@127.0.0.1:{RABBITMQ_PORT}//"


def absent(what: str) -> NoReturn:
    """Skip a test that lacks something; in CI it fails."""
    reason = f"{what} is absent: start it to run this test"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_redis() -> None:
    if not is_listening(REDIS_PORT):
        absent(f"Redis at 127.0.0.1:{REDIS_PORT}")


def require_rabbitmq() -> None:
    if not is_listening(RABBITMQ_PORT):
        absent(f"RabbitMQ at 127.0.0.1:{RABBITMQ_PORT}")


def redis_url(database: int) -> str:
    return f"redis://127.0.0.1:{REDIS_PORT}/{database}"


def redis_client(database: int) -> redis.Redis:
    return redis.Redis(port=REDIS_PORT, db=database)
