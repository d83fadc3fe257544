"""The costs of following a long group: its progress, its failures, its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
from baselines import BROKERS, RESULTS
from versus import Versus, rate

from celerant import Celerant, GroupResult
from celerant._core import Roster
from celerant.results.tracking.members import Members, sealed
from celerant.results.tracking.sampling import SAMPLE

WINDOW = 10_000
#: What a stream may take beyond its first window: KiB.
STREAM_MOST = 64 * 1024
#: Calls of `progress` that are timed together.
_CALLS = 20
_TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/.venv/lib/python3.11/site-packages/celery/app/trace.py", line 453, \
in trace_task
    R = retval = fun(*args, **kwargs)
                 ^^^^^^^^^^^^^^^^^^^^
  File "/srv/shop/orders/tasks.py", line {line}, in charge
    client.charge(order)
  File "/srv/shop/.venv/lib/python3.11/site-packages/pay/client.py", line 90, in charge
    raise Declined(order)
pay.errors.Declined: order {index} was declined
"""


@pytest.fixture
def app() -> Iterator[Celerant]:
    """Return an app whose results are in Redis, emptied afterwards."""
    with Celerant("bench", broker=BROKERS["redis"], backend=RESULTS) as app:
        yield app
    redis.Redis.from_url(RESULTS).flushdb()


def group_of(app: Celerant, n: int) -> GroupResult[Any]:
    """Return the result of a group as it is once it was sent."""
    roster = Roster(os.urandom(16), n)
    members = Members(roster, app.backend, barrier=sealed(n), is_group=True)
    return GroupResult(roster.uuid, members)


def store(result: GroupResult[Any], stop: int, *, fail: bool) -> None:
    """Store the records of members up to `stop`."""
    client = redis.Redis.from_url(RESULTS)
    for start in range(0, stop, 1000):
        ids = result.roster.ids(start, min(start + 1000, stop))
        client.mset(
            {
                f"celery-task-meta-{task_id}": _record(index, task_id, fail=fail)
                for index, task_id in enumerate(ids, start)
            }
        )
    client.close()


def _record(index: int, task_id: str, *, fail: bool) -> str:
    value: Any = index
    if fail:
        value = {
            "exc_type": "Declined",
            "exc_message": [f"order {index} was declined"],
            "exc_module": "pay.errors",
        }
    return json.dumps(
        {
            "status": "FAILURE" if fail else "SUCCESS",
            "result": value,
            "traceback": _TRACEBACK.format(line=10 + index % 7, index=index)
            if fail
            else None,
            "children": [],
            "date_done": "2026-11-20T18:00:00.000000+00:00",
            "group_id": "g",
            "task_id": task_id,
        }
    )


def _parsed(ids: list[str]) -> list[Any]:
    client = redis.Redis.from_url(RESULTS)
    found = []
    for start in range(0, len(ids), 1000):
        keys = [f"celery-task-meta-{task_id}" for task_id in ids[start : start + 1000]]
        found += [orjson.loads(record) for record in client.mget(keys) if record]
    client.close()
    return found


@pytest.mark.benchmark(group="long groups")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", [1_000, 10_000, 100_000])
def test_failures(versus: Versus, app: Celerant, benchmark: Any, n: int) -> None:
    """`failures()` of a group that another process has sent, all of it failed."""
    result = group_of(app, n)
    store(result, n, fail=True)
    handle, ids = result.handle, result.roster.ids(0, n)

    def grouped() -> None:
        failures = app.attach(handle).failures()
        assert (failures.total, len(failures)) == (n, 7)

    def parsed() -> None:
        assert len(_parsed(ids)) == n

    versus(lambda: rate(n, grouped), mget_orjson=lambda: rate(n, parsed))
    benchmark.extra_info["plot"] = ["failures", n]


@pytest.mark.benchmark(group="long groups")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("n", [10_000, 100_000, 1_000_000])
def test_progress(versus: Versus, app: Celerant, benchmark: Any, n: int) -> None:
    """`progress()` of up to a million members from another process: calls a second."""
    result = group_of(app, n)
    store(result, n // 5, fail=False)
    elsewhere = [app.attach(result.handle) for _ in range(_CALLS)]
    ids = result.roster.ids(0, SAMPLE)

    def sampled() -> None:
        for one in elsewhere:
            progress = one.progress()
            assert abs(progress.done - n // 5) < 3 * progress.margin

    def parsed() -> None:
        for _ in range(_CALLS):
            assert len(_parsed(ids)) == SAMPLE

    versus(lambda: rate(_CALLS, sampled), mget_orjson=lambda: rate(_CALLS, parsed))
    benchmark.extra_info["plot"] = ["progress", n]


@pytest.mark.benchmark(group="long groups")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("n", [100_000, 1_000_000, 10_000_000])
def test_stream(benchmark: Any, n: int) -> None:
    """The memory that members take that come and are forgotten."""
    program = Path(__file__).parent / "streaming.py"
    command = [sys.executable, str(program), str(n), str(WINDOW)]

    def run() -> int:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        grown, total = map(int, found.stdout.split())
        assert total == n * (n - 1) // 2
        return grown

    grown = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["this_grew_kib"] = grown
    benchmark.extra_info["plot"] = ["stream", n]
    benchmark.extra_info["correct"] = grown <= STREAM_MOST
