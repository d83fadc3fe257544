from __future__ import annotations

import random

import pytest

from celerant._core import Barrier
from celerant.results.backends import open_backend
from harness.groups import group_of
from harness.racing import run

THREADS = 4


@pytest.fixture
def seed():
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    return seed


def test_one_of_many_racing_calls_completes(seed):
    draw = random.Random(seed)
    for _ in range(100):
        n = draw.randrange(1, 200)
        barrier = Barrier()
        outcomes = []

        def grow_and_seal(barrier=barrier, n=n, outcomes=outcomes):
            for _ in range(n):
                barrier.grow(1)
            outcomes.append(barrier.seal(n))

        indices = draw.sample(range(n), n)

        def arrive(barrier=barrier, indices=indices, outcomes=outcomes):
            for index in indices:
                while index >= len(barrier):
                    pass
                outcomes.append(barrier.arrive(index, Barrier.SUCCESS))

        run([grow_and_seal, *[arrive] * (THREADS - 1)])
        assert outcomes.count("completed") == 1
        assert outcomes.count("duplicate") == n * (THREADS - 2)
        assert barrier.is_complete
        assert barrier.counts()[Barrier.SUCCESS] == n


def test_every_waiter_is_woken_and_sees_every_value(seed):
    draw = random.Random(seed)
    backend = open_backend("memory://", name=f"threads-{seed}")
    for _ in range(20):
        n = draw.randrange(1, 300)
        result = group_of(n, backend)
        roster = result.roster
        order = draw.sample(range(n), n)

        def store(part, order=order, n=n, roster=roster):
            for index in order[part::2]:
                backend.store_result(roster.id(index), index, "SUCCESS")

        def wait(result=result, n=n):
            assert result.get(timeout=20) == list(range(n))

        def wait_for_one(result=result, index=order[-1]):
            assert result[index].get(timeout=20) == index

        run([lambda: store(0), lambda: store(1), wait, wait, wait_for_one])
    backend.close()
