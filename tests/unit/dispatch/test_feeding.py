"""Groups that are fed: never more than a window of unfinished members in the broker."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from celerant import Celerant, chain, chord, group
from celerant._core import Barrier
from celerant.errors import CanvasError, CelerantError, ForkError, SettingError
from harness.forking import in_child
from harness.until import until, until_in_loop

WAIT = 10


def members_of(shop, count, drawn=None):
    for number in range(count):
        if drawn is not None:
            drawn.append(number)
        yield shop.echo.s(number)


def test_the_call_returns_at_once_and_a_window_of_members_leaves(shop, queue):
    drawn = []
    result = group(members_of(shop, 100, drawn)).apply_async(window=10)
    until(lambda: queue.look() == 10)
    assert not result.members.barrier.is_sealed
    assert len(drawn) == 10
    queue.finish_all(result)
    assert result.get(timeout=WAIT) == list(range(100))
    assert [result.members.roster.id(i) for i in range(100)] == queue.left
    assert result.report.complete
    assert result.source_error is result.stopped_by is None


def test_a_quarter_of_the_window_is_awaited_before_more_leave(shop, queue):
    result = group(members_of(shop, 100)).apply_async(window=8)
    until(lambda: queue.look() == 8)
    result.members.begin()
    queue.finish(1)
    until(lambda: result.members.barrier.remaining == 7)
    assert queue.look() == 8
    queue.finish(1)
    until(lambda: queue.look() == 10)
    queue.finish_all(result)


@pytest.mark.parametrize("window", [1, 2, 7, 50])
@pytest.mark.parametrize("form", ["generator", "list", "map"])
def test_no_more_than_the_window_is_ever_unfinished(shop, queue, window, form):
    made = {
        "generator": lambda: group(members_of(shop, 60)),
        "list": lambda: group([shop.echo.s(i) for i in range(60)]),
        "map": lambda: group.map(shop.echo, range(60)),
    }
    result = made[form]().apply_async(window=window)
    dice = random.Random(window)
    while not (result.members.barrier.is_sealed and queue.done == 60):
        until(lambda: queue.look() > queue.done or result.members.barrier.is_sealed)
        assert len(queue.left) - queue.done <= window
        queue.finish(dice.randint(1, window))
    assert result.get(timeout=WAIT) == list(range(60))


def test_members_that_are_chains_chords_and_groups_count_once_each(shop, queue):
    def mixed():
        yield shop.echo.s(1)
        yield chain(shop.echo.s(1), shop.echo.s())
        yield group(shop.echo.s(1), shop.echo.s(2))
        yield chord([shop.echo.s(1), shop.echo.s(2)], shop.echo.s())

    with shop.app.worker(concurrency=2):
        result = group(mixed()).apply_async(window=1)
        values = result.get(timeout=WAIT)
    assert len(values) == 5
    assert result.report.complete


@pytest.mark.parametrize("window", [0, -1, 1.5, True, "10"])
def test_a_window_that_is_no_count_is_refused(shop, queue, window):
    with pytest.raises(SettingError, match="window must be a whole number"):
        group(members_of(shop, 3)).apply_async(window=window)
    assert queue.look() == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda shop: shop.echo.s(),
        lambda shop: chain(shop.echo.s(), shop.echo.s()),
        lambda shop: chord([shop.echo.s()], shop.echo.s()),
    ],
    ids=["task", "chain", "chord"],
)
def test_only_groups_have_a_window(shop, make):
    with pytest.raises(SettingError, match="window"):
        make(shop).apply_async(window=10)


def test_a_window_needs_results(shop, queue):
    with pytest.raises(SettingError, match="results are ignored"):
        group(members_of(shop, 3)).apply_async(window=2, ignore_result=True)
    with pytest.raises(SettingError, match="results are ignored"):
        group.map(shop.ignored, range(3)).apply_async(window=2)
    app = Celerant("celerant-test-no-results", backend="disabled://")
    with app, pytest.raises(SettingError, match="stores no results"):
        group([app.signature("t")], app=app).apply_async(window=2)
    assert queue.look() == 0


def test_a_member_whose_result_is_ignored_ends_the_feeding(shop, queue):
    members = [shop.echo.s(0), shop.ignored.s(1), shop.echo.s(2)]
    result = group(members).apply_async(window=1)
    until(lambda: queue.look() == 1)
    queue.finish_all(result)
    assert isinstance(result.source_error, CanvasError)
    assert "group[1]" in str(result.source_error)
    assert [member.state for member in result] == ["SUCCESS", "NOT_SENT", "NOT_SENT"]


def test_a_source_that_raises_keeps_what_it_gave(shop, queue):
    def broken():
        yield from members_of(shop, 7)
        raise KeyError("gone")

    result = group(broken()).apply_async(window=3)
    queue.finish_all(result)
    assert len(queue.left) == 7
    assert isinstance(result.source_error, KeyError)
    assert result.failed()
    assert not result.successful()
    with pytest.raises(KeyError, match="gone"):
        result.get(timeout=WAIT)
    assert result.get(timeout=WAIT, propagate=False) == list(range(7))


def test_a_source_that_raises_wakes_whoever_waits(shop, queue):
    go = threading.Event()

    def broken():
        yield shop.echo.s(0)
        go.wait(WAIT)
        raise KeyError("gone")

    result = group(broken()).apply_async(window=5)
    raised = []

    def wait():
        try:
            result.get(timeout=WAIT)
        except KeyError as exc:
            raised.append(exc)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: len(result.members.waiters) > 1)
    go.set()
    waiting.join(WAIT)
    assert raised == [result.source_error]


def test_a_bad_member_ends_the_feeding_by_its_name(shop, queue):
    def mixed():
        yield shop.echo.s(0)
        yield shop.echo.s(object())

    result = group(mixed()).apply_async(window=1)
    queue.finish_all(result)
    assert result.source_error.path == "group[1]"


def test_an_empty_source_is_a_group_without_members(shop):
    result = group(iter(())).apply_async(window=5)
    assert result.get(timeout=WAIT) == []
    assert result.source_error is None


def test_pause_lets_nothing_leave_until_it_goes_on(shop, queue):
    result = group(members_of(shop, 40)).apply_async(window=4)
    until(lambda: queue.look() == 4)
    result.pause()
    result.pause()
    queue.finish(4)
    result.members.begin()
    until(lambda: result.members.barrier.remaining == 0)
    assert queue.look() == 4
    result.resume_feeding()
    queue.finish_all(result)
    assert result.get(timeout=WAIT) == list(range(40))


def test_nothing_leaves_of_a_slow_source_while_it_is_paused(shop, queue):
    drawing, go, given = threading.Event(), threading.Event(), threading.Event()

    def slow():
        yield shop.echo.s(0)
        drawing.set()
        go.wait(WAIT)
        given.set()
        yield shop.echo.s(1)

    result = group(slow()).apply_async(window=10)
    assert drawing.wait(WAIT)
    result.pause()
    go.set()
    assert given.wait(WAIT)
    assert queue.look() == 1
    result.resume_feeding()
    queue.finish_all(result)
    assert result.get(timeout=WAIT) == [0, 1]


def test_only_a_group_that_is_fed_can_be_paused(shop):
    result = group([shop.echo.s()]).apply_async()
    for steer in (result.pause, result.resume_feeding):
        with pytest.raises(CelerantError, match="is not fed"):
            steer()
    assert result.source_error is result.stopped_by is None


def test_closing_the_app_ends_the_feeding_and_whoever_waits_hears(shop, queue):
    result = group(members_of(shop, 40)).apply_async(window=4)
    until(lambda: queue.look() == 4)
    shop.app.close()
    assert result.stopped_by == "close"
    assert len(result.members.barrier) == 4
    with pytest.raises(CelerantError, match="was stopped"):
        result.get(timeout=WAIT)
    assert queue.look() == 4


def test_closing_the_app_does_not_wait_for_a_source_that_blocks(shop, queue):
    drawing, go, back = threading.Event(), threading.Event(), threading.Event()

    def blocked():
        yield shop.echo.s(0)
        drawing.set()
        go.wait(WAIT)
        yield shop.echo.s(1)
        back.set()

    result = group(blocked()).apply_async(window=10)
    assert drawing.wait(WAIT)
    shop.app.close()
    with pytest.raises(CelerantError, match="was stopped"):
        result.get(timeout=WAIT)
    go.set()
    until(lambda: not result.feeding.is_running)
    assert queue.look() == 1


def test_a_list_that_is_cut_short_names_all_of_its_members(shop, queue):
    result = group([shop.echo.s(i) for i in range(9)]).apply_async(window=2)
    until(lambda: queue.look() == 2)
    shop.app.close()
    assert len(result) == 9
    assert result.members.barrier.count(Barrier.NOT_SENT) == 7
    assert result.report.unsent == [(2, 9)]


def test_a_frozen_group_is_fed_under_its_ids(shop, queue):
    members = group([shop.echo.s(i) for i in range(20)])
    ids = [member.id for member in members.freeze()]
    result = members.apply_async(window=3)
    queue.finish_all(result)
    assert queue.left == ids


def test_a_forked_child_does_not_steer_its_parents_group(shop, queue):
    result = group(members_of(shop, 40)).apply_async(window=4)
    until(lambda: queue.look() == 4)

    def steer():
        with pytest.raises(ForkError, match="is fed by process"):
            result.pause()
        shop.app.close()
        return True

    assert in_child(steer) is True
    queue.finish_all(result)
    assert result.get(timeout=WAIT) == list(range(40))


def test_many_groups_are_fed_at_a_time_and_a_plain_send_does_not_wait(shop, queue):
    shop.app.conf.broker_pool_limit = 2
    go = threading.Event()

    def slow():
        yield shop.echo.s(0)
        go.wait(WAIT)

    results = [group(slow()).apply_async(window=5) for _ in range(12)]
    until(lambda: queue.look() == 12)
    shop.echo.delay(1)
    assert queue.look() == 13
    go.set()
    queue.finish(13)
    for result in results:
        assert result.get(timeout=WAIT) == [result.members.values.get(0)]


def test_an_async_iterable_is_drawn_by_its_loop(shop, queue):
    threads = set()

    async def members(count):
        for number in range(count):
            threads.add(threading.get_ident())
            await asyncio.sleep(0)
            yield shop.echo.s(number)

    async def main():
        result = await group(members(2500)).asend(window=100)
        while not (result.members.barrier.is_sealed and queue.done == queue.look()):
            await until_in_loop(
                lambda: result.members.barrier.is_sealed or queue.look() > queue.done
            )
            assert len(queue.left) - queue.done <= 100
            queue.finish(100)
        assert await result == list(range(2500))
        assert result.source_error is None

    asyncio.run(main())
    assert threads == {threading.get_ident()}


def test_an_async_iterable_needs_no_window_and_no_signatures(shop, queue):
    async def items():
        for number in range(1200):
            yield number

    async def main():
        result = await shop.app.asend(group.map(shop.echo, items()))
        await until_in_loop(lambda: result.members.barrier.is_sealed)
        return result

    result = asyncio.run(main())
    assert queue.look() == 1200
    assert result.report.complete


def test_an_async_iterable_that_raises_keeps_what_it_gave(shop, queue):
    async def members():
        yield shop.echo.s(0)
        raise KeyError("gone")

    async def main():
        result = await group(members()).asend(window=5)
        await until_in_loop(lambda: result.members.barrier.is_sealed)
        with pytest.raises(KeyError, match="gone"):
            await result
        return result

    result = asyncio.run(main())
    assert isinstance(result.source_error, KeyError)
    assert queue.look() == 1


def test_a_loop_that_ends_ends_the_feeding_from_it(shop, queue):
    async def members():
        yield shop.echo.s(0)
        await asyncio.Event().wait()

    async def main():
        result = await group(members()).asend(window=5)
        await until_in_loop(lambda: queue.look() == 1)
        return result

    result = asyncio.run(main())
    until(lambda: result.members.barrier.is_sealed)
    assert "event loop ended" in str(result.source_error)


def test_closing_the_app_has_the_loop_draw_no_more(shop, queue):
    ended = []

    async def members():
        try:
            yield shop.echo.s(0)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main():
        result = await group(members()).asend(window=5)
        await until_in_loop(lambda: queue.look() == 1)
        await asyncio.to_thread(shop.app.close)
        await until_in_loop(lambda: ended)
        assert result.stopped_by == "close"

    asyncio.run(main())


def test_an_async_iterable_leaves_by_an_event_loop_alone(shop, queue):
    async def members():
        yield shop.echo.s(0)

    made = group(members())
    for act in (made.apply_async, made.freeze, lambda: len(made)):
        with pytest.raises(CanvasError, match="asend"):
            act()
    assert made

    async def main():
        result = await made.asend()
        await until_in_loop(lambda: result.members.barrier.is_sealed)
        with pytest.raises(CanvasError, match="has been sent"):
            await made.asend()
        return result

    assert asyncio.run(main()).report.complete
    assert queue.look() == 1


def test_members_that_a_task_feeds_have_that_task_as_their_parent(shop):
    found = []

    @shop.app.task(name="feeding_test.parent", bind=True)
    def parent(self):
        result = group(members_of(shop, 3)).apply_async(window=1)
        until(lambda: result.members.barrier.is_sealed)
        found.append(self.request.id)
        return [r.id for r in result]

    shop.app.tasks.unregister("celerant_test.echo")

    @shop.app.task(name="celerant_test.echo", bind=True)
    def echo(self, *_):
        found.append(self.request.parent_id)

    with shop.app.worker(concurrency=2):
        parent.delay().get(timeout=WAIT)
        until(lambda: len(found) == 4)
    assert len(set(found)) == 1
