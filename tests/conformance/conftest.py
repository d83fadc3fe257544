from __future__ import annotations

import pytest

from harness.pair import Pair


@pytest.fixture
def pair():
    """Make pairs: `pair("redis", task_routes=...)`."""
    made = []

    def make(broker, **settings):
        made.append(Pair(broker, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def memory_pair():
    """One pair on memory:// for many examples."""
    one = Pair("memory")
    yield one
    one.close()
