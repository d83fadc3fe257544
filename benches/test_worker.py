"""How fast the embedded worker runs no-op tasks, and what an idle one costs."""

from __future__ import annotations

import statistics
import threading
import time
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


@pytest.mark.benchmark(group="embedded worker")
def test_one_task(benchmark: Any) -> None:
    """``delay().get()`` of one task over memory://."""
    app, same = no_op_app()
    with app, app.worker():
        assert benchmark(lambda: same.delay(7).get(timeout=10)) == 7
    benchmark.extra_info["microseconds"] = round(1e6 * benchmark.stats.stats.median)
    # What two threads take to wake each other: the part that is the machine's.
    benchmark.extra_info["two_switches_us"] = round(1e6 * two_switches())
    benchmark.extra_info["correct"] = True


def two_switches(n: int = 2_000) -> float:
    """Return the median seconds from waking another thread to being woken by it."""
    there, back = threading.Event(), threading.Event()
    is_over = False

    def answer() -> None:
        while there.wait() and not is_over:
            there.clear()
            back.set()

    other = threading.Thread(target=answer)
    other.start()
    took: list[float] = []
    for _ in range(n):
        started = time.perf_counter()
        there.set()
        back.wait()
        took.append(time.perf_counter() - started)
        back.clear()
    is_over = True
    there.set()
    other.join()
    return statistics.median(took)


@pytest.mark.benchmark(group="embedded worker")
def test_idle(benchmark: Any) -> None:
    """CPU seconds per second of a worker with nothing to do."""
    app, same = no_op_app()
    used: list[float] = []

    def idle() -> None:
        started, cpu = time.monotonic(), time.process_time()
        # The one place where time itself is what is measured.
        time.sleep(10)
        used.append((time.process_time() - cpu) / (time.monotonic() - started))

    with app, app.worker():
        assert same.delay(1).get(timeout=10) == 1
        benchmark.pedantic(idle, rounds=1)
    benchmark.extra_info["cpu_percent"] = round(100 * used[0], 3)
    benchmark.extra_info["correct"] = True
