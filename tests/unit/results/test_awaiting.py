from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from celerant._core import Barrier
from celerant.context.request import Request, current_request
from celerant.errors import CelerantError, NotSent
from celerant.results.async_result import AsyncResult
from celerant.results.consuming import consumer
from celerant.results.tracking.awaiting import waker
from harness.until import until, until_in_loop


async def watched(*results):
    await until_in_loop(lambda: all(result.members.is_watched for result in results))


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 10))


def test_a_result_and_a_group_are_awaited(fake, group_of):
    async def main():
        group, single = group_of(3, fake), AsyncResult("single", fake)
        waits = [asyncio.ensure_future(r) for r in (group, single, group[1])]
        await until_in_loop(lambda: len(group.members.waiters) == 2)
        await watched(group, single)
        for index in (2, 0, 1):
            fake.push(group.roster.id(index), index)
        fake.push("single", "s")
        return await asyncio.gather(*waits)

    assert run(main()) == [[0, 1, 2], "s", 1]


def test_awaiting_a_done_result_returns_at_once(memory, group_of):
    async def main():
        group = group_of(2, memory)
        for index in range(2):
            memory.store_result(group.roster.id(index), index, "SUCCESS")
        first = await group
        before = set(threading.enumerate())
        return first, await group, await group[1], set(threading.enumerate()) - before

    assert run(main()) == ([0, 1], [0, 1], 1, set())


def test_waits_share_one_thread(fake):
    async def main():
        results = [AsyncResult(f"t{i}", fake) for i in range(500)]
        before = set(threading.enumerate())
        waits = [asyncio.ensure_future(result) for result in results]
        await until_in_loop(lambda: all(len(r.members.waiters) for r in results))
        await watched(*results)
        grown = len(set(threading.enumerate()) - before)
        for result in results:
            fake.push(result.id, result.id)
        return grown, await asyncio.gather(*waits) == [r.id for r in results]

    grown, is_right = run(main())
    assert is_right
    assert grown <= 1


def test_failures_are_raised_at_the_await(fake, group_of):
    async def main():
        group = group_of(3, fake)
        waiting = asyncio.ensure_future(group)
        await until_in_loop(lambda: len(group.members.waiters))
        await watched(group)
        # The group is not complete: the first failure is enough.
        fake.push(group.roster.id(1), KeyError("k"), "FAILURE")
        with pytest.raises(KeyError):
            await waiting
        with pytest.raises(KeyError):
            await group[1]
        ignored = AsyncResult("x", fake)
        ignored.members.settle([0], Barrier.IGNORED)
        assert await ignored is None
        unsent = AsyncResult("y", fake)
        unsent.members.settle([0], Barrier.NOT_SENT)
        with pytest.raises(NotSent):
            await unsent

    run(main())


def test_a_cancelled_wait_leaves_nothing_behind(fake, group_of):
    async def main():
        group = group_of(2, fake)
        for result in (group, group[0]):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(result, 0.01)
        assert not len(group.members.waiters)
        assert not group.members.callbacks
        assert not fake.consumer.service.kept
        return weakref.ref(group.members)

    members = run(main())
    fake.feed.wake()
    gc.collect()
    assert members() is None


def test_an_outage_is_raised_and_awaiting_again_goes_on(fake, monkeypatch):
    monkeypatch.setattr(consumer, "_BACKOFF_MOST", 0.01)

    async def main():
        result = AsyncResult("a", fake)
        fake.broken = 4
        with pytest.raises(CelerantError, match="failed: gone"):
            await result
        waiting = asyncio.ensure_future(result)
        await watched(result)
        fake.push("a", 1)
        return await waiting

    assert run(main()) == 1


def test_loops_in_several_threads_wait_for_one_group(fake, group_of):
    group, values = group_of(2, fake), []
    threads = [
        threading.Thread(target=lambda: values.append(run(_awaited(group))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(group.members.waiters) == 4 and group.members.is_watched)
    for index in range(2):
        fake.push(group.roster.id(index), index)
    for thread in threads:
        thread.join(10)
    assert values == [[0, 1]] * 4


async def _awaited(result):
    return await result


def test_a_loop_that_is_closed_is_no_trouble():
    loop = asyncio.new_event_loop()
    wake = waker(loop, loop.create_future())
    loop.close()
    wake()


def test_awaiting_inside_a_task_is_refused(fake, group_of):
    async def main():
        current_request.set(Request(id="a", task="shop.add"))
        for result in (AsyncResult("b", fake), group_of(1, fake)):
            with pytest.raises(RuntimeError, match="inside task"):
                await result

    run(main())


def test_members_come_in_the_order_of_their_arrival(fake, group_of):
    async def main():
        group = group_of(5, fake)
        group.members.settle([4], Barrier.NOT_SENT)
        found = []
        order = [2, 0, 3, 1]
        assert not group.ready()
        async for member in group:
            found.append(group.roster.index(member.id))
            assert member.ready()
            if order:
                # Twice, as a task that is delivered twice.
                index = order.pop(0)
                fake.push(group.roster.id(index), index)
                fake.push(group.roster.id(index), index)
        return found

    assert run(main()) == [4, 2, 0, 3, 1]


def test_a_batch_is_in_the_order_in_which_it_came(fake, group_of):
    async def main():
        group = group_of(100, fake)
        members = aiter_of(group)
        waiting = asyncio.ensure_future(members.__anext__())
        await until_in_loop(lambda: len(group.members.waiters))
        await watched(group)
        for index in reversed(range(100)):
            fake.push(group.roster.id(index), index)
        first = await waiting
        rest = [member async for member in members]
        return [group.roster.index(member.id) for member in [first, *rest]]

    assert run(main()) == list(reversed(range(100)))


def aiter_of(group):
    return group.__aiter__()


def test_arrived_members_of_any_state_are_iterated_over(memory, group_of):
    async def main():
        group = group_of(3, memory)
        memory.store_result(group.roster.id(0), 1, "SUCCESS")
        memory.store_result(group.roster.id(1), KeyError("k"), "FAILURE")
        group.members.settle([2], Barrier.IGNORED)
        return sorted([member.state async for member in group])

    assert run(main()) == ["FAILURE", "IGNORED", "SUCCESS"]


def test_an_empty_group_iterates_over_nothing(memory, group_of):
    async def main():
        group = group_of(0, memory)
        return [member async for member in group], await group

    assert run(main()) == ([], [])


def test_an_iteration_that_was_left_gets_no_more_members(fake, group_of):
    async def main():
        group = group_of(2, fake)
        group.members.settle([0], Barrier.IGNORED)
        async for _ in group:
            break
        gc.collect()
        assert not group.members._arrivals
        assert not len(group.members.waiters)

    run(main())


def test_many_coroutines_on_one_group_are_not_all_asked_each_time(fake, group_of):
    async def main():
        group = group_of(50, fake)
        asked = []
        waits = [asyncio.ensure_future(member) for member in group]
        await until_in_loop(lambda: len(group.members.waiters) == 50)
        for waiters in group.members.waiters._single.values():
            for waiter in waiters:
                wake = waiter.wake
                counting = lambda f=wake: asked.append(1) or f()  # noqa: E731
                object.__setattr__(waiter, "wake", counting)
        await until_in_loop(lambda: group.members.is_watched)
        asked.clear()
        fake.push(group.roster.id(0), 0)
        await waits[0]
        # What comes later is taken in later: the first record is done with then.
        other = asyncio.ensure_future(later := AsyncResult("later", fake))
        await watched(later)
        fake.push("later", 1)
        await other
        count = len(asked)
        for index in range(1, 50):
            fake.push(group.roster.id(index), index)
        await asyncio.gather(*waits)
        return count

    assert run(main()) == 1
