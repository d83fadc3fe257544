"""The rate of the embedded worker with no-op tasks, and the cost of an idle one."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from baselines import BROKERS, QUEUE, RESULTS
from versus import rate

from celerant import Celerant, Task, group


def no_op_app(broker: str = "memory") -> tuple[Celerant, Task[[int], int]]:
    """Return an app and its task that does nothing; results in Redis or memory."""
    in_memory = broker == "memory"
    app = Celerant(
        "bench-worker",
        broker=None if in_memory else BROKERS[broker],
        backend=None if in_memory else RESULTS,
        task_default_queue=QUEUE,
    )

    @app.task(name="bench.same")
    def same(x: int) -> int:
        return x

    return app, same


@pytest.mark.benchmark(group="embedded worker")
@pytest.mark.parametrize(
    ("broker", "n"), [("memory", 20_000), ("redis", 2_000), ("amqp", 2_000)]
)
def test_end_to_end(benchmark: Any, broker: str, n: int) -> None:
    """Send, run and collect no-op tasks, with threads."""
    app, same = no_op_app(broker)
    rates: list[float] = []

    def run() -> None:
        def volley() -> None:
            result = group.map(same, range(n)).apply_async()
            assert result.get(timeout=60) == list(range(n))

        rates.append(rate(n, volley))

    with app, app.worker():
        benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    benchmark.extra_info["tasks_per_second"] = round(sorted(rates[1:])[2])
    benchmark.extra_info["correct"] = True


@contextlib.contextmanager
def on_cores(cores: str) -> Iterator[None]:
    """Let this thread, and those that it starts, run on one core or on all."""
    if cores == "all":
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind threads to a core")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.benchmark(group="embedded worker")
@pytest.mark.parametrize("cores", ["one", "all"])
def test_one_task(benchmark: Any, cores: str) -> None:
    """``delay().get()`` of one task over memory://, with one core or two for it."""
    app, same = no_op_app()
    with on_cores(cores):
        with app, app.worker():
            assert benchmark(lambda: same.delay(7).get(timeout=10)) == 7
        # What it takes two threads to do a little each and wake the other: the
        # machine's part, which differs by as much as the figure itself.
        alone, handed_over = statistics.median(plain()), statistics.median(relay())
    benchmark.extra_info["microseconds"] = round(1e6 * benchmark.stats.stats.median)
    benchmark.extra_info["plain_work_us"] = round(2e6 * alone)
    benchmark.extra_info["plain_work_handed_over_us"] = round(1e6 * handed_over)
    benchmark.extra_info["correct"] = True


def work() -> None:
    """Do some 20 us of Python's work."""
    for i in range(3):
        text = json.dumps({"a": i, "b": [1, 2, 3]})
        Counter(text)
        json.loads(text)


def plain(n: int = 2_000) -> list[float]:
    """Return the seconds of each `work` in one thread."""
    took = []
    for _ in range(n):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return took


def relay(n: int = 2_000) -> list[float]:
    """Return the seconds of each `work` here, then in another thread, and back."""
    there: SimpleQueue[int] = SimpleQueue()
    back: SimpleQueue[int] = SimpleQueue()

    def answer() -> None:
        while there.get():
            work()
            back.put(1)

    other = threading.Thread(target=answer)
    other.start()
    took = []
    for _ in range(n):
        started = time.perf_counter()
        work()
        there.put(1)
        back.get()
        took.append(time.perf_counter() - started)
    there.put(0)
    other.join()
    return took


@pytest.mark.benchmark(group="embedded worker")
def test_idle(benchmark: Any) -> None:
    """CPU seconds per second of a worker with nothing to do."""
    app, same = no_op_app()
    used: list[float] = []

    def idle() -> None:
        started, cpu = time.monotonic(), time.process_time()
        # The one place that measures time itself.
        time.sleep(10)
        used.append((time.process_time() - cpu) / (time.monotonic() - started))

    with app, app.worker():
        assert same.delay(1).get(timeout=10) == 1
        benchmark.pedantic(idle, rounds=1)
    benchmark.extra_info["cpu_percent"] = round(100 * used[0], 3)
    benchmark.extra_info["correct"] = True
