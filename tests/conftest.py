from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=50, deadline=None)
settings.register_profile(
    "slow",
    max_examples=2_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

#: Files that take minutes. They begin first, or one process would run them at the end
#: while the others are idle.
_LONG = frozenset({"test_stock_suite.py", "test_versions.py", "test_worker_lives.py"})


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; the random order of the others stays."""
    items.sort(key=lambda item: item.path.name not in _LONG)


def _take_a_redis() -> None:
    """Give each of several test processes a Redis of its own.

    Broadcasts reach all workers of one server, whatever test they belong to. Without
    `redis-server` they share the one that runs.
    """
    name = "CELERANT_TEST_REDIS_PORT"
    is_alone = "PYTEST_XDIST_WORKER" not in os.environ
    if is_alone or name in os.environ or shutil.which("redis-server") is None:
        return
    from harness.redis_server import RedisServer  # after the environment is known

    folder = Path(tempfile.mkdtemp(prefix="celerant-test-redis-"))
    server = RedisServer(folder)
    server.__enter__()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.__exit__, None, None, None)
    # Read by `harness.services`, here and in the workers that tests start.
    os.environ[name] = str(server.port)


_take_a_redis()


@pytest.fixture
def app():
    """An app of its own on memory:// for one test."""
    from celerant import Celerant
    from harness.capture import drain

    with Celerant("celerant-test-memory") as app:
        yield app
    # The next test's app has the same queue.
    drain("memory://", "celerant-test-memory")


#: Classes of Celery and kombu that the swap-in, or what watches Celery, patches.
_PATCHED = (
    ("celery.canvas", ("Signature", "_chain", "_chord", "chunks", "group")),
    ("celery.app.task", ("Task",)),
    ("celery.app.base", ("Celery",)),
    ("celery.app.amqp", ("AMQP",)),
    ("celery.backends.base", ("Backend", "KeyValueStoreBackend")),
    ("celery.backends.redis", ("RedisBackend",)),
    ("celery.backends.rpc", ("RPCBackend",)),
    ("celery.result", ("AsyncResult", "GroupResult", "ResultSet")),
    ("kombu.messaging", ("Producer",)),
)


def _functions_of_celery():
    """Return what is in the place of each function of Celery that others patch."""
    return {
        (getattr(sys.modules[module], owner), name): value
        for module, owners in _PATCHED
        if module in sys.modules
        for owner in owners
        for name, value in vars(getattr(sys.modules[module], owner)).items()
        if callable(value)
    }


@pytest.fixture(autouse=True)
def celery_left_as_it_was():
    """Fail a test that leaves a function of Celery patched, and put it back."""
    before = _functions_of_celery()
    yield
    left = [
        (owner, name, function)
        for (owner, name), function in before.items()
        if vars(owner).get(name) is not function
    ]
    for owner, name, function in left:
        setattr(owner, name, function)
    assert not left, [f"{owner.__name__}.{name}" for owner, name, _ in left]
