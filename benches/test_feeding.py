"""The costs of feeding a group, and of cancelling one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from baselines import BROKERS, RESULTS
from versus import Versus, rate

from celerant import Celerant, GroupResult, Task, group
from celerant._core import Barrier

N = 200_000
#: Milliseconds that a cancel may take.
CANCEL_MOST = 50
_QUEUE = "bench-feeding"
#: Seconds between two looks of those that finish members: as workers that are always
#: ready, and take nothing from the process that feeds.
_PAUSE = 0.002


@pytest.fixture
def app() -> Iterator[Celerant]:
    """Return an app with a queue of its own, deleted afterwards."""
    broker = BROKERS["redis"]
    with Celerant(
        "bench", broker=broker, backend=RESULTS, task_default_queue=_QUEUE
    ) as app:
        app.backend.revoke_by_stamped_headers = lambda *_, **__: None
        yield app
    redis.Redis.from_url(broker).delete(_QUEUE)
    redis.Redis.from_url(RESULTS).flushdb()


def finish(result: GroupResult[Any]) -> None:
    """Let members be done as they leave, until all are."""
    members, done = result.members, 0
    while not (members.barrier.is_sealed and done == len(members.barrier)):
        count = len(members.barrier)
        if count == done:
            # A worker that has nothing to do; a busy loop would take the sender's core.
            time.sleep(_PAUSE)
        members.settle(range(done, count), Barrier.IGNORED)
        done = count


def _task(app: Celerant) -> Task[[int], None]:
    @app.task(name="bench.nothing")
    def nothing(_: int) -> None:
        return None

    return nothing


@pytest.mark.benchmark(group="feeding")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("window", [1_000, 10_000, 100_000])
def test_window(versus: Versus, app: Celerant, benchmark: Any, window: int) -> None:
    """A group that is fed through a window, and one that leaves at once."""
    nothing = _task(app)
    broker = redis.Redis.from_url(BROKERS["redis"])

    def send(**options: Any) -> None:
        finish(group.map(nothing, range(N)).apply_async(**options))
        assert broker.llen(_QUEUE) == N

    def measured(**options: Any) -> float:
        broker.delete(_QUEUE)
        return rate(N, lambda: send(**options))

    versus(lambda: measured(window=window), at_once=measured)
    benchmark.extra_info["plot"] = ["window", window]


@pytest.mark.benchmark(group="feeding")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", [10_000, 100_000, 1_000_000])
def test_cancel(benchmark: Any, app: Celerant, n: int) -> None:
    """`cancel()` of up to a million members: the time until workers are told."""
    members = group.map(_task(app), range(n))
    result = members.apply_async(cancellable=True)
    told = []

    def tell(*what: Any, **_: Any) -> None:
        told.append(what)

    app.backend.revoke_by_stamped_headers = tell
    found = benchmark.pedantic(result.cancel, rounds=1)
    benchmark.extra_info["messages"] = len(told)
    took = benchmark.stats["max"] * 1000
    benchmark.extra_info["this_took_ms"] = round(took, 2)
    benchmark.extra_info["plot"] = ["cancel", n]
    benchmark.extra_info["correct"] = took < CANCEL_MOST and len(told) == 1
    assert found.cancelled == n
