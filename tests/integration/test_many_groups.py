"""A thousand groups that one process waits for at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celerant import Celerant, group
from harness.until import until_in_loop

GROUPS = 1000
MEMBERS = 4


def consumers():
    return {t for t in threading.enumerate() if t.name == "celerant-results"}


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def app(request):
    if request.param == "redis":
        return request.getfixturevalue("make_app")("redis")
    return request.getfixturevalue("memory_app")


@pytest.fixture
def memory_app():
    with Celerant("many-groups") as app:
        yield app


def test_a_thousand_groups_are_awaited_by_one_consumer(app):
    @app.task
    def double(x):
        return 2 * x

    def values(number):
        return [2 * (number + index) for index in range(MEMBERS)]

    async def first_of(result):
        async for member in result.as_completed():
            return member.index
        return None

    async def main(results):
        count = asyncio.gather(*(result.await_count(2) for result in results[::2]))
        first = asyncio.gather(*map(first_of, results))
        got = asyncio.gather(*results)
        await until_in_loop(lambda: len(consumers() - before) == 1)
        with app.worker():
            assert min(await count) >= 2
            assert set(await first) <= set(range(MEMBERS))
            return await got

    before = consumers()
    sent = [
        group(double.s(number + index) for index in range(MEMBERS)).apply_async()
        for number in range(GROUPS)
    ]
    got = asyncio.run(asyncio.wait_for(main(sent), 60))
    assert got == [values(number) for number in range(GROUPS)]
    assert len(consumers() - before) == 1
