"""An app without references takes its threads and connections along."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import uuid
import weakref
from pathlib import Path

import pytest

from celerant import Celerant, group
from harness.until import until

pytestmark = pytest.mark.timeout(60)


def look(app, echo):
    assert not group(echo.s(i) for i in range(3)).apply_async().ready()
    assert not echo.delay(1).ready()


def wait_for_results(app, echo):
    with app.worker(concurrency=2):
        assert group(echo.s(i) for i in range(3))().get(timeout=20) == [0, 1, 2]


def await_results(app, echo):
    async def main():
        with app.worker(concurrency=1):
            return await (await app.asend(echo.s(5)))

    assert asyncio.run(main()) == 5


def call_back(app, echo):
    called = threading.Event()
    with app.worker(concurrency=1):
        echo.delay(1).then(lambda _: called.set())
        assert called.wait(20)


@pytest.fixture
def urls(own_urls, request):
    def urls_of(kind):
        if kind == "rabbitmq":
            request.getfixturevalue("rabbitmq_url")
        return {
            "memory": {"broker": "memory://"},
            "redis": {"broker": own_urls["redis"]},
            "rabbitmq": {"broker": own_urls["rabbitmq"], "backend": "rpc://"},
        }[kind]

    return urls_of


def held():
    """Return how many threads, sockets and pipes this process has."""
    # Threads of the interpreter's own pools stay, for all apps.
    threads = [
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith(("asyncio_", "ThreadPool"))
    ]
    descriptors = 0
    for link in Path("/proc/self/fd").iterdir():
        # The folder's own is gone by now.
        with contextlib.suppress(OSError):
            descriptors += str(link.readlink()).startswith(("socket:", "pipe:"))
    return len(threads), descriptors


def use(act, urls):
    """Use an app and drop it without a `close()`."""
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    app = Celerant(
        name, task_default_queue=name, control_exchange=name, result_expires=60, **urls
    )

    @app.task(name="echo")
    def echo(x):
        return x

    act(app, echo)
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete(name)
        if connection.transport.driver_type == "amqp":
            for exchange in (f"{name}.pidbox", f"reply.{name}.pidbox", name):
                channel.exchange_delete(exchange)
    return weakref.ref(app), weakref.ref(app.backend)


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts descriptors as Linux lists them"
)
@pytest.mark.parametrize("act", [look, wait_for_results, await_results, call_back])
@pytest.mark.parametrize("kind", ["memory", "redis", "rabbitmq"])
def test_an_app_dropped_without_close_is_collected_with_all_it_holds(kind, act, urls):
    gc.collect()
    before = held()
    references = use(act, urls(kind))

    def is_gone():
        gc.collect()
        if any(reference() is not None for reference in references):
            return False
        # The collector may have taken leftovers of others, too.
        return all(now <= then for now, then in zip(held(), before, strict=True))

    # Threads end by themselves.
    until(is_gone)
