"""Fed groups whose members come from an event loop: in bursts, or one that ends."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest

from celerant import CanvasError, group
from harness.until import until, until_in_loop


@pytest.mark.parametrize("options", [{}, {"window": 100}])
@pytest.mark.parametrize("form", ["signatures", "items"])
def test_all_members_of_a_burst_leave_before_the_next_comes(shop, queue, options, form):
    go = asyncio.Event()

    async def rows():
        for number in range(40):
            if number % 10 == 0:
                await go.wait()
                go.clear()
            yield shop.echo.s(number) if form == "signatures" else number

    async def main():
        made = rows() if form == "signatures" else group.map(shop.echo, rows())
        members = group(made) if form == "signatures" else made
        result = await members.asend(**options)
        for burst in range(4):
            go.set()
            await until_in_loop(lambda burst=burst: queue.look() == 10 * burst + 10)
        await until_in_loop(lambda: result.sealed)
        return result

    result = asyncio.run(main())
    ids = [result.members.roster.id(index) for index in range(40)]
    assert queue.left == ids
    assert result.report.complete


def test_a_loop_that_is_closed_without_an_end_of_its_tasks_ends_the_feeding(
    shop, queue
):
    async def rows():
        yield shop.echo.s(0)
        yield shop.echo.s(1)
        await asyncio.Event().wait()

    async def main():
        result = await group(rows()).asend(window=5)
        await until_in_loop(lambda: queue.look() == 2)
        return result

    loop = asyncio.new_event_loop()
    result = loop.run_until_complete(main())
    assert not result.sealed
    loop.close()
    until(lambda: result.sealed)
    assert "event loop ended" in str(result.source_error)
    assert len(result) == 2


def test_a_loop_that_rests_and_runs_again_goes_on_feeding(shop, queue):
    go = asyncio.Event()

    async def rows():
        yield shop.echo.s(0)
        await go.wait()
        yield shop.echo.s(1)

    async def begin():
        result = await group(rows()).asend(window=5)
        await until_in_loop(lambda: queue.look() == 1)
        return result

    async def end(result):
        go.set()
        await until_in_loop(lambda: result.sealed)

    loop = asyncio.new_event_loop()
    result = loop.run_until_complete(begin())
    loop.run_until_complete(end(result))
    loop.close()
    assert queue.look() == 2
    assert result.source_error is None


@pytest.mark.parametrize("how", ["cancelled", "a bad member"])
def test_a_source_that_nobody_reads_any_more_gives_back_what_it_holds(shop, queue, how):
    async def main():
        closed = asyncio.Event()

        async def rows():
            try:
                yield shop.echo.s(0)
                if how == "a bad member":
                    yield 5
                # More than are drawn ahead, so that it stands at one of them.
                for number in range(10_000):
                    yield shop.echo.s(number)
            finally:
                closed.set()

        result = await group(rows()).asend(window=3)
        if how == "cancelled":
            await until_in_loop(lambda: queue.look() == 3)
            result.cancel()
        await asyncio.wait_for(closed.wait(), 10)
        await until_in_loop(lambda: len(asyncio.all_tasks()) == 1)
        await until_in_loop(lambda: result.sealed)

    asyncio.run(main())


def test_a_source_that_awaits_what_was_cancelled_says_so(shop, queue):
    async def main():
        gone = asyncio.ensure_future(asyncio.Event().wait())
        gone.cancel()

        async def rows():
            yield shop.echo.s(0)
            await gone

        result = await group(rows()).asend(window=3)
        await until_in_loop(lambda: result.sealed)
        return result

    result = asyncio.run(main())
    assert queue.look() == 1
    said = "awaits was cancelled" if sys.version_info >= (3, 11) else "cancel|ended"
    assert re.search(said, str(result.source_error))


def test_results_of_a_group_that_is_fed_are_not_forgotten(shop, queue):
    result = group([shop.echo.s(i) for i in range(9)]).apply_async(window=3)
    until(lambda: queue.look() == 3)
    with pytest.raises(CanvasError, match="still being sent"):
        result.forget()
    result.cancel()
    result.forget()
