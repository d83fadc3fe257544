"""A program that sends one group to Redis, and prints how fast and in how much memory.

Usage: ``python sending.py KIND MEMBERS``; prints members a second, and KiB of its peak
resident memory above what it had before. A kind is a function of this file; each
imports its library itself, for ArdiQ needs a later Python than the others.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from memory import Peak
from ready import pushing

BROKER = "redis://127.0.0.1:6379/11"
QUEUE = "celerant-bench"

Send = Callable[[int], Any]
#: Connections that end with the process.
_KEPT = ExitStack()


def celerant() -> Send:
    """A group of ready-made calls, as a generator yields them."""
    from celerant import Celerant, group  # noqa: PLC0415 - one library a process

    app = Celerant("bench", broker=BROKER, backend="disabled://")
    app.conf.task_default_queue = QUEUE

    @app.task(name="bench.add")
    def add(x: int, y: int) -> int:
        return x + y

    return lambda n: group(add.s(i, i) for i in range(n)).apply_async()


def celery() -> Send:
    """The same with stock Celery."""
    group, add, producer = _celery()
    return lambda n: group(add.s(i, i) for i in range(n)).apply_async(producer=producer)


def celery_batch() -> Send:
    """The same inside kombu's `Producer.batch`."""
    group, add, producer = _celery()

    def send(n: int) -> None:
        with producer.batch(max_size=1000):
            group(add.s(i, i) for i in range(n)).apply_async(producer=producer)

    return send


def ardiq() -> Send:
    """ArdiQ's `enqueue_many`, its only call for many tasks."""
    # Only a later Python has it; one library a process.
    from ardiq import Ardiq  # type: ignore[import-not-found]  # noqa: PLC0415

    app = Ardiq(redis_url=BROKER, queue_name=QUEUE)

    @app.task(name="bench.add")  # type: ignore[untyped-decorator]  # no types where it is not installed
    async def add(x: int, y: int) -> int:
        return x + y

    loop = asyncio.new_event_loop()

    async def enqueue(n: int) -> None:
        await app.enqueue_many(add.prepare(i, i) for i in range(n))

    return lambda n: loop.run_until_complete(enqueue(n))


def ready_bytes() -> Send:
    """One socket and bytes made before, some chunks ahead of the replies."""
    # As long as the message of one such task.
    return _KEPT.enter_context(pushing(b"m" * 1100, QUEUE, in_flight=4))


def _celery() -> tuple[Any, Any, Any]:
    from celery import Celery, group  # noqa: PLC0415 - one library a process

    app = Celery("bench", broker=BROKER, set_as_current=False)
    app.conf.update(task_default_queue=QUEUE, task_ignore_result=True)

    @app.task(name="bench.add", shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def add(x: int, y: int) -> int:
        return x + y

    return group, app.tasks[add.name], app.producer_pool.acquire(block=True)


KINDS = {
    kind.__name__: kind for kind in (celerant, celery, celery_batch, ardiq, ready_bytes)
}


def main(kind: str, n: int) -> None:
    """Connect with one member, then send `n` more."""
    send = KINDS[kind]()
    send(1)
    peak = Peak()
    began = time.perf_counter()
    send(n)
    took = time.perf_counter() - began
    sys.stdout.write(f"{n / took} {peak.grown()}\n")
    sys.stdout.flush()
    # At once: what ArdiQ 1.2 has running crashes an interpreter that ends.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
