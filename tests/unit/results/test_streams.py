"""Streams of a group's progress: what they hold, and what they do without a store."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import pytest

from celerant.ui.events import Shared, events
from harness.until import until

INTERVAL = 0.02


async def left_at_a_change(told):
    """Be a client that goes away before it takes the next event."""
    await anext(told)
    await told.aclose()


async def left_while_nothing_changes(told):
    """Be a client that goes away while the stream waits."""
    await anext(told)
    waits = asyncio.ensure_future(anext(told))
    await asyncio.sleep(3 * INTERVAL)
    waits.cancel()
    await asyncio.wait([waits])


@pytest.mark.parametrize("left", [left_at_a_change, left_while_nothing_changes])
def test_a_client_that_goes_away_leaves_no_group_behind(group_of, memory, left):
    result = group_of(3, memory)
    asyncio.run(left(events(result, INTERVAL)))
    members = weakref.ref(result.members)
    del result

    def is_gone():
        gc.collect()
        return members() is None

    until(is_gone)
    assert memory.consumer.unfinished() == 0


def test_a_group_goes_on_for_those_who_stay(group_of, memory):
    result = group_of(2, memory)

    async def follow():
        stays = events(result, INTERVAL)
        await anext(stays)
        await left_at_a_change(events(result, INTERVAL))
        for index in range(2):
            memory.store_result(result.roster.id(index), index, "SUCCESS")
        return [told async for told in stays]

    *_, last = asyncio.run(asyncio.wait_for(follow(), 10))
    assert last.startswith(b"event: end\n")


def test_a_store_that_is_away_ends_a_stream_and_blocks_no_loop(group_of, fake):
    result = group_of(3, fake)
    lags = []

    async def watch_the_loop():
        while True:
            last = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - last)

    async def follow():
        watching = asyncio.ensure_future(watch_the_loop())
        told = events(result, INTERVAL)
        seen = [await anext(told)]
        fake.broken = 10**6
        fake.feed.lose = 1
        fake.feed.wake()
        seen += [part async for part in told]
        watching.cancel()
        return seen

    seen = asyncio.run(asyncio.wait_for(follow(), 30))
    assert [part.partition(b"\n")[0] for part in seen] == [b"event: progress"]
    assert max(lags) < 0.5


def test_a_stream_of_a_store_that_is_away_is_empty(group_of, fake):
    fake.broken = 10**6

    async def follow():
        return [part async for part in events(group_of(3, fake), INTERVAL)]

    assert asyncio.run(follow()) == []


def test_streams_share_a_group_while_one_follows_it(group_of, memory):
    shared = Shared()
    first = group_of(3, memory)
    again = group_of(3, memory)
    again.members.roster = first.roster
    assert shared.one_of(first) is first
    assert shared.one_of(again) is first
    del first
    gc.collect()
    assert shared.one_of(again) is again


def test_a_group_that_is_done_is_not_shared(group_of, memory):
    shared = Shared()
    first, again = group_of(1, memory), group_of(1, memory)
    again.members.roster = first.roster
    shared.one_of(first)
    first.settle(1)
    # It may have been sent once more since.
    assert shared.one_of(again) is again
