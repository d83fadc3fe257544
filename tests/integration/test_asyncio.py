"""Sending and waiting in event loops, with each kind of results."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celerant import Celerant, group
from celerant.errors import CanvasError
from harness.tasks import define_tasks
from harness.until import until_in_loop

SIZE = 500


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def shop(request, queue):
    """An app, its tasks, and the embedded worker that runs them."""
    url = None
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")["broker"]
    elif request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
    with Celerant(queue, broker=url) as app:
        app.conf.task_default_queue = queue
        tasks = define_tasks(app)
        tasks.app = app
        with app.worker():
            yield tasks


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


@pytest.mark.timeout(90)
def test_a_group_is_sent_and_awaited(shop):
    async def main():
        members = group([shop.add.s(i, i) for i in range(SIZE)])
        result = await shop.app.asend(members)
        single = await shop.app.asend(shop.add.s(20), kwargs={"y": 22})
        return await result, await single

    assert run(main()) == ([2 * i for i in range(SIZE)], 42)


@pytest.mark.timeout(90)
def test_members_are_iterated_over_as_they_arrive(shop):
    async def main():
        result = await shop.app.asend(group(shop.add.s(i, 1) for i in range(SIZE)))
        return [await member async for member in result]

    assert sorted(run(main())) == list(range(1, SIZE + 1))


@pytest.mark.timeout(90)
def test_many_waits_in_several_loops(shop):
    async def volley(offset):
        sent = [await shop.app.asend(shop.add.s(offset, index)) for index in range(20)]
        return await asyncio.gather(*sent)

    found = {}

    def loop(offset):
        found[offset] = run(volley(offset))

    threads = [threading.Thread(target=loop, args=(i * 100,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {i: [i + n for n in range(20)] for i in (0, 100, 200)}


def test_failures_reach_the_loop(shop):
    async def main():
        with pytest.raises(ValueError, match="no"):
            await (await shop.app.asend(shop.fail.s("no")))
        with pytest.raises(CanvasError):
            await shop.app.asend(group([shop.add.s(1, 1), 3]))
        assert await (await shop.app.asend(shop.ignored.s())) is None

    run(main())


def test_the_loop_goes_on_while_a_group_is_sent(queue):
    sending, go_on = threading.Event(), threading.Event()

    def members(task):
        sending.set()
        assert go_on.wait(20)
        yield task.s(1, 1)

    async def main(app, tasks):
        sent = asyncio.ensure_future(app.asend(group(members(tasks.add))))
        await until_in_loop(sending.is_set)
        # Cancelled before its turn, a send never happens.
        waiting = asyncio.ensure_future(app.asend(tasks.add.s(2, 2)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go_on.set()
        return await sent

    with Celerant(queue) as app:
        tasks = define_tasks(app)
        result = run(main(app, tasks))
        with app.connection_for_read() as connection:
            depth = connection.default_channel.queue_declare(
                app.conf.task_default_queue, passive=True
            ).message_count
    assert len(result) == 1
    assert depth == 1


def test_a_closed_app_sends_again(queue):
    async def main(app, task):
        await app.asend(task.s(1, 1))
        app.close()
        return await app.asend(task.s(1, 1))

    with Celerant(queue) as app:
        assert run(main(app, define_tasks(app).add)).id
