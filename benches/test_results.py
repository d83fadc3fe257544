"""The rates of results, and the costs of looking at them and keeping them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import baselines
import pytest
import redis
from baselines import BROKERS, QUEUE, RESULTS, purge, store_results
from versus import Versus, rate

from celerant import Celerant, GroupResult, Signature, group
from harness.celery_worker import CeleryWorker

N = 100_000
N_RPC = 10_000
#: As many as take stock Celery seconds, not minutes.
N_RPC_CELERY = 2_000


@pytest.fixture
def app() -> Iterator[Celerant]:
    """Return an app with Redis for both ways."""
    with Celerant("bench", broker=BROKERS["redis"], backend=RESULTS) as app:
        app.conf.task_default_queue = QUEUE
        yield app
    redis.Redis.from_url(RESULTS).flushdb()
    purge("redis")


def sent(app: Celerant, n: int) -> GroupResult[Any]:
    """Send n tasks without a worker, and drop their messages."""
    members: Iterator[Signature[int]] = (
        Signature("bench.add", (i, i)) for i in range(n)
    )
    result = group(members, app=app).apply_async()
    purge("redis")
    return result


@pytest.mark.benchmark(group="results")
@pytest.mark.timeout(300)
def test_get_stored(versus: Versus, app: Celerant) -> None:
    """`get()` of results that are all stored already."""
    first = sent(app, N)
    ids = [r.id for r in first]
    store_results(ids)

    def get() -> float:
        result = app.attach(first.handle)

        def read() -> None:
            assert result.get(timeout=60) == list(range(N))

        return rate(N, read)

    versus(get, mget_orjson=lambda: baselines.mget(ids))


@pytest.mark.benchmark(group="results")
@pytest.mark.timeout(600)
def test_rpc(versus: Versus) -> None:
    """Send, have a stock worker run, and collect over RabbitMQ alone."""
    queue = f"{QUEUE}-rpc"
    worker = CeleryWorker(
        broker=BROKERS["amqp"],
        backend="rpc://",
        queue=queue,
        settings={"worker_prefetch_multiplier": 64},
    )
    app = Celerant("bench", broker=BROKERS["amqp"], backend="rpc://")
    app.conf.task_default_queue = queue

    def volley() -> None:
        members: Iterator[Signature[int]] = (
            Signature("celerant_test.add", (i, i)) for i in range(N_RPC)
        )
        result = group(members, app=app).apply_async()
        assert result.get(timeout=120) == [2 * i for i in range(N_RPC)]

    with app, worker:
        versus(
            lambda: rate(N_RPC, volley),
            rounds=3,
            celery=lambda: baselines.celery_rpc(queue, N_RPC_CELERY),
        )
    baselines.delete(queue)


@pytest.mark.benchmark(group="results")
@pytest.mark.parametrize("n", [400, 40_000])
def test_completed_count(benchmark: Any, app: Celerant, n: int) -> None:
    """Later looks ask no server, at any size."""
    result = sent(app, n)
    store_results([r.id for r in result[: n // 2]])
    assert result.completed_count() == n // 2
    assert benchmark(result.completed_count) == n // 2
    benchmark.extra_info["correct"] = True


@pytest.mark.benchmark(group="memory")
@pytest.mark.timeout(300)
def test_a_generator_of_a_million_is_not_kept(benchmark: Any, app: Celerant) -> None:
    """Bytes that Python holds after, and at the peak of, a send from a generator."""
    n = 1_000_000
    kept: dict[str, int] = {}

    def measure() -> None:
        sent(app, 1000)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        result = sent(app, n)
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(result) == n
        kept.update(kept=after - before, peak=peak - before)

    benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info["kept_bytes_per_member"] = round(kept["kept"] / n, 3)
    benchmark.extra_info["peak_mib"] = round(kept["peak"] / 2**20, 1)
    benchmark.extra_info["correct"] = kept["peak"] < 48 * 2**20
