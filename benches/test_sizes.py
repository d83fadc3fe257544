"""The rate and the memory of one group to Redis, by its size and by library.

ArdiQ is measured if ``ARDIQ_PYTHON`` names an interpreter that has it: it needs a later
CPython than Celerant does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from baselines import QUEUE, REDIS
from versus import Versus

#: The largest group of a library: beyond that it takes longer than ten seconds.
MOST = {"celery": 10_000, "celery_batch": 10_000, "ardiq": 100_000}
_ARDIQ_QUEUE = f"ardiq:{QUEUE}:queues:default"


@pytest.mark.benchmark(group="sizes: Redis")
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
@pytest.mark.parametrize("n", [10, 100, 1_000, 10_000, 100_000, 1_000_000])
def test_size(versus: Versus, benchmark: Any, n: int) -> None:
    """Each in a process of its own, which has sent one task before."""
    memory: dict[str, list[int]] = {}

    def measured(kind: str, python: str = sys.executable) -> Callable[[], float]:
        def run() -> float:
            reached, grown = _sent(python, kind, n)
            memory.setdefault(kind, []).append(grown)
            return reached

        return run

    others = {
        kind: measured(kind) for kind in ("celery", "celery_batch") if n <= MOST[kind]
    }
    ardiq = os.environ.get("ARDIQ_PYTHON")
    if ardiq and n <= MOST["ardiq"]:
        others["ardiq"] = measured("ardiq", ardiq)
    versus(
        measured("celerant"), rounds=3, **others, ready_bytes=measured("ready_bytes")
    )
    for kind, grown in memory.items():
        benchmark.extra_info[f"{kind}_grew_kib"] = round(statistics.median(grown))
    benchmark.extra_info["plot"] = ["sizes", n]


def _sent(python: str, kind: str, n: int) -> tuple[float, int]:
    program = Path(__file__).parent / "sending.py"
    with redis.Redis.from_url(REDIS) as client:
        client.flushdb()
        told = subprocess.run(
            [python, str(program), kind, str(n)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        arrived = client.xlen(_ARDIQ_QUEUE) if kind == "ardiq" else client.llen(QUEUE)
        # One more has told it that the connection stands.
        assert arrived == n + 1, f"{kind}: {arrived} of {n + 1}"
        client.flushdb()
    return float(told[0]), int(told[1])
