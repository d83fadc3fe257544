"""Groups whose first members leave alone, and that stop if too many fail."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celerant import group
from celerant._core import Barrier
from celerant.errors import CanvasError, CelerantError, SettingError
from harness.until import until

WAIT = 10


def streamed(shop, count):
    return group(shop.echo.s(i) for i in range(count))


def listed(shop, count):
    return group([shop.echo.s(i) for i in range(count)])


def mapped(shop, count):
    return group.map(shop.echo, range(count))


FORMS = pytest.mark.parametrize("made", [streamed, listed, mapped])


@FORMS
def test_the_canary_leaves_alone_and_the_rest_once_it_is_done(shop, queue, made):
    result = made(shop, 30).apply_async(canary=5, stop_if=0.5)
    until(lambda: queue.look() == 5)
    queue.finish(4)
    result.members.begin()
    until(lambda: result.members.barrier.remaining <= 1)
    assert queue.look() == 5
    queue.finish(1)
    until(lambda: queue.look() == 30)
    queue.finish_all(result)
    assert result.get(timeout=WAIT) == list(range(30))
    assert result.stopped_by is None


@FORMS
def test_a_canary_that_fails_stops_the_rest_and_resume_goes_on(shop, queue, made):
    members = made(shop, 30)
    result = members.apply_async(window=10, canary=5)
    until(lambda: queue.look() == 5)
    queue.finish(1, "FAILURE")
    until(lambda: result.stopped_by)
    until(lambda: result.members.barrier.is_sealed)
    assert result.stopped_by == "canary"
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=WAIT)
    assert queue.look() == 5
    assert members.resume(result) is result
    assert result.stopped_by is None
    queue.finish_all(result)
    assert len(queue.left) == len(set(queue.left)) == 30
    assert [member.id for member in result] == queue.left
    values = result.get(timeout=WAIT, propagate=False)
    assert isinstance(values[0], ValueError)
    assert values[1:] == list(range(1, 30))
    assert result.report.complete


def test_a_share_of_failures_is_one_of_those_that_are_done(shop, queue):
    result = streamed(shop, 1000).apply_async(window=40, canary=20, stop_if=0.1)
    until(lambda: queue.look() == 20)
    queue.finish(2, "FAILURE")
    queue.finish(18)
    until(lambda: queue.look() == 60)
    # 2 of 40 have failed, then 5 of 43.
    queue.finish(20)
    until(lambda: queue.look() > 60)
    assert result.stopped_by is None
    queue.finish(3, "FAILURE")
    until(lambda: result.stopped_by == "stop_if")
    until(lambda: result.members.barrier.is_sealed)
    assert len(result) < 150


def test_a_count_of_failures_stops_a_group_without_a_canary(shop, queue):
    result = streamed(shop, 1000).apply_async(window=40, stop_if=2)
    until(lambda: queue.look() == 40)
    queue.finish(2, "FAILURE")
    queue.finish(20)
    until(lambda: queue.look() >= 60)
    assert result.stopped_by is None
    queue.finish(1, "FAILURE")
    until(lambda: result.stopped_by == "stop_if")


def test_a_few_failures_at_the_start_are_no_share_yet(shop, queue):
    result = streamed(shop, 1000).apply_async(window=40, stop_if=0.05)
    until(lambda: queue.look() == 40)
    queue.finish(5, "FAILURE")
    queue.finish(30)
    until(lambda: queue.look() >= 60)
    queue.finish(1, "FAILURE")
    until(lambda: result.stopped_by == "stop_if")


def test_a_group_that_resumes_counts_failures_anew(shop, queue):
    members = streamed(shop, 200)
    result = members.apply_async(window=10, stop_if=1)
    until(lambda: queue.look() == 10)
    queue.finish(2, "FAILURE")
    until(lambda: result.feeding.is_over)
    members.resume(result)
    queue.look()
    queue.finish(len(queue.left) - queue.done)
    until(lambda: queue.look() > queue.done)
    queue.finish(1, "FAILURE")
    until(lambda: queue.look() > queue.done)
    assert result.stopped_by is None
    queue.finish(1, "FAILURE")
    until(lambda: result.stopped_by == "stop_if")


def test_a_canary_may_be_a_share_of_a_list(shop, queue):
    result = listed(shop, 30).apply_async(canary=0.1)
    until(lambda: queue.look() == 3)
    queue.finish_all(result)
    assert result.get(timeout=WAIT) == list(range(30))


@pytest.mark.parametrize("canary", [0, -1, True, 1.0, 1.5, "5"])
def test_a_canary_that_is_no_count_or_share_is_refused(shop, queue, canary):
    with pytest.raises(SettingError, match="canary must be"):
        listed(shop, 3).apply_async(canary=canary)
    assert queue.look() == 0


@pytest.mark.parametrize("stop_if", [-1, True, 1.0, 0.0, "5"])
def test_a_limit_that_is_no_count_or_share_is_refused(shop, queue, stop_if):
    with pytest.raises(SettingError, match="stop_if must be"):
        listed(shop, 3).apply_async(stop_if=stop_if)
    assert queue.look() == 0


@pytest.mark.parametrize("made", [listed, mapped])
def test_a_canary_that_is_more_than_the_group_is_refused(shop, queue, made):
    members = made(shop, 3)
    with pytest.raises(SettingError, match="more than the group's 3 members"):
        members.apply_async(canary=4)
    assert queue.look() == 0
    # Nothing is lost by the look.
    members.apply_async(canary=3)
    until(lambda: queue.look() == 3)


def test_all_members_of_a_short_generator_are_the_canary(shop, queue):
    result = streamed(shop, 3).apply_async(canary=4)
    queue.finish_all(result)
    assert len(result.get(timeout=WAIT)) == 3
    assert result.stopped_by is None


def test_the_caller_does_not_wait_for_a_source_with_a_canary(shop, queue):
    go = threading.Event()

    def slow():
        assert go.wait(WAIT)
        yield shop.echo.s(0)

    result = group(slow(), app=shop.app).apply_async(canary=5)
    go.set()
    queue.finish_all(result)
    assert len(result.get(timeout=WAIT)) == 1


def test_what_comes_before_an_error_of_the_source_leaves_in_a_canary(shop, queue):
    def torn():
        yield shop.echo.s(0)
        yield shop.echo.s(1)
        raise OSError("the disk is gone")

    result = group(torn(), app=shop.app).apply_async(window=50, canary=5)
    until(lambda: result.sealed)
    assert queue.look() == 2
    assert str(result.source_error) == "the disk is gone"
    with pytest.raises(OSError, match="the disk is gone"):
        result.get(timeout=WAIT)


def test_a_canary_counts_members_of_nested_groups(shop, queue):
    def nested():
        yield group(shop.echo.s(0), shop.echo.s(1))
        yield group(shop.echo.s(2), shop.echo.s(3))

    result = group(nested()).apply_async(canary=3)
    until(lambda: queue.look() == 3)
    queue.finish_all(result)
    listed_ones = [group(shop.echo.s(0), shop.echo.s(1)), shop.echo.s(2)]
    with pytest.raises(SettingError, match="more than the group's 3 members"):
        group(listed_ones).apply_async(canary=5)


def test_a_share_of_a_generator_is_refused(shop, queue):
    with pytest.raises(SettingError, match="nobody knows the length"):
        streamed(shop, 3).apply_async(canary=0.5)
    assert queue.look() == 0


def test_a_group_that_was_cancelled_does_not_resume(shop, queue):
    shop.app.backend.revoke_by_stamped_headers = lambda *_, **__: None
    members = listed(shop, 30)
    result = members.apply_async(window=10)
    until(lambda: queue.look() == 10)
    result.cancel()
    with pytest.raises(CanvasError, match="was cancelled"):
        members.resume(result)


def test_a_group_resumes_with_its_own_source_alone(shop, queue):
    result = streamed(shop, 30).apply_async(canary=5)
    until(lambda: queue.look() == 5)
    queue.finish(1, "FAILURE")
    until(lambda: result.feeding.is_over)
    with pytest.raises(CanvasError, match="cannot go on"):
        streamed(shop, 30).resume(result)
    result = listed(shop, 30).apply_async(canary=5)
    until(lambda: queue.look() == 10)
    queue.done = 5
    queue.finish(1, "FAILURE")
    until(lambda: result.feeding.is_over)
    with pytest.raises(CanvasError, match="is not of this group"):
        listed(shop, 31).resume(result)


def test_a_group_that_is_fed_or_was_whole_resumes_without_doing_anything(shop, queue):
    members = streamed(shop, 30)
    result = members.apply_async(window=5)
    until(lambda: queue.look() == 5)
    members.resume(result)
    queue.finish_all(result)
    members.resume(result)
    assert result.get(timeout=WAIT) == list(range(30))
    assert queue.look() == 30


def test_a_list_whose_app_was_closed_resumes(shop, queue):
    members = listed(shop, 30)
    result = members.apply_async(window=5)
    until(lambda: queue.look() == 5)
    shop.app.close()
    assert result.members.barrier.count(Barrier.NOT_SENT) == 25
    members.resume(result)
    assert queue.look() <= 10
    assert result.stopped_by is None
    result.pause()


def test_a_generator_that_was_stopped_with_members_in_hand_says_so(shop, queue):
    drawing, go = threading.Event(), threading.Event()

    def blocked():
        yield shop.echo.s(0)
        drawing.set()
        go.wait(WAIT)
        yield shop.echo.s(1)

    members = group(blocked())
    result = members.apply_async(window=5)
    assert drawing.wait(WAIT)
    shop.app.close()
    with pytest.raises(CanvasError, match="cannot go on"):
        members.resume(result)
    go.set()
    until(lambda: not result.feeding.is_running)
    with pytest.raises(CanvasError, match="cannot go on"):
        members.resume(result)


def test_an_async_iterable_has_a_canary_too(shop, queue):
    async def members():
        for number in range(30):
            yield shop.echo.s(number)

    async def main():
        made = group(members())
        result = await made.asend(canary=5)
        await asyncio.to_thread(until, lambda: queue.look() == 5)
        queue.finish(1, "FAILURE")
        await asyncio.to_thread(until, lambda: result.feeding.is_over)
        assert result.stopped_by == "canary"
        made.resume(result)
        await asyncio.to_thread(queue.finish_all, result)
        assert queue.look() == 30
        with pytest.raises(ValueError, match="no"):
            await result

    asyncio.run(main())


def test_a_wait_for_a_stopped_group_without_failures_ends_with_the_reason(shop, queue):
    result = streamed(shop, 30).apply_async(window=5)
    until(lambda: queue.look() == 5)
    result.feeding.stop("stop_if")
    with pytest.raises(CelerantError, match=r"stopped \(stop_if\).*resume"):
        result.get(timeout=WAIT)


@FORMS
def test_a_canary_that_was_not_done_is_proved_once_it_goes_on(shop, queue, made):
    members = made(shop, 30)
    result = members.apply_async(window=100, canary=5)
    until(lambda: queue.look() == 5)
    queue.finish(3)
    result.members.begin()
    until(lambda: result.members.barrier.remaining <= 2)
    result.feeding.stop("close")
    members.resume(result)
    assert result.feeding.breaker.is_proving
    queue.finish(1, "FAILURE")
    until(lambda: result.sealed)
    assert result.stopped_by == "canary"
    assert queue.look() == 5
    members.resume(result)
    until(lambda: result.sealed)
    assert queue.look() == 30


def test_the_rest_leaves_once_a_canary_is_done_that_was_stopped(shop, queue):
    members = listed(shop, 30)
    result = members.apply_async(window=100, canary=5)
    until(lambda: queue.look() == 5)
    result.feeding.stop("close")
    members.resume(result)
    queue.finish(4)
    until(lambda: result.members.barrier.count(Barrier.SUCCESS) == 4)
    assert queue.look() == 5
    queue.finish(1)
    until(lambda: result.sealed)
    assert queue.look() == 30


def test_a_generator_goes_on_while_its_end_is_still_noted(shop, queue, monkeypatch):
    members = streamed(shop, 30)
    result = members.apply_async(window=100, canary=5)
    ending, go = threading.Event(), threading.Event()
    await_end = result.feeding.await_end

    def note_slowly():
        ending.set()
        go.wait(WAIT)

    def await_noted():
        go.set()
        await_end()

    result.feeding.at_end = note_slowly
    monkeypatch.setattr(result.feeding, "await_end", await_noted)
    until(lambda: queue.look() == 5)
    queue.finish(5, "FAILURE")
    assert ending.wait(WAIT)
    try:
        assert members.resume(result) is result
    finally:
        go.set()
    until(lambda: result.sealed)
    assert queue.look() == 30
