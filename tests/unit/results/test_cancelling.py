"""Groups that are cancelled, as whoever waits for them sees it."""

from __future__ import annotations

import asyncio

import pytest

from celerant import group
from celerant._core import Barrier
from celerant.common.group_stamp import GROUP_STAMP
from celerant.errors import SettingError, TaskRevoked
from harness.capture import drain
from harness.until import until, until_in_loop

WAIT = 10


@pytest.fixture
def told(shop):
    """What workers would be told, as (how, what, options)."""
    backend, words = shop.app.backend, []
    backend.obstacle = lambda: None
    backend.revoke = lambda ids, **how: words.append(("ids", list(ids), how))
    backend.revoke_by_stamped_headers = lambda what, **how: words.append(
        ("stamps", what, how)
    )
    return words


def finish(result, *indices, state="SUCCESS"):
    for index in indices:
        result.backend.store_result(result.roster.id(index), index, state)


def stamps_in(app):
    found = drain("memory://", app.conf.task_default_queue)
    return [m.headers["stamps"] for m in found]


def test_a_group_that_is_fed_feeds_no_more_and_one_word_tells_the_workers(shop, told):
    result = group(shop.echo.s(i) for i in range(50)).apply_async(window=4)
    until(lambda: len(result.members.barrier) == 4)
    finish(result, 0)
    done, running, cancelled = result.cancel()
    assert (running, done + cancelled) == (0, len(result))
    assert done == 1
    assert told == [
        ("stamps", {GROUP_STAMP: [result.id]}, {"terminate": False, "signal": None})
    ]
    with pytest.raises(TaskRevoked):
        result.get(timeout=WAIT)
    assert result.stopped_by == "cancel"
    counts = result.counts()
    assert counts["SUCCESS"] == 1
    assert counts["REVOKED"] == len(result) - 1
    assert not result.feeding.is_running
    assert stamps_in(shop.app) == [{GROUP_STAMP: result.id}] * len(result)


def test_members_of_a_list_that_have_not_left_are_not_sent(shop, told):
    result = group([shop.echo.s(i) for i in range(50)]).apply_async(window=4)
    until(lambda: len(drain("memory://", shop.app.conf.task_default_queue)) == 4)
    assert result.cancel() == (0, 0, 50)
    until(result.ready)
    assert result.counts()["NOT_SENT"] == 46
    assert result.counts()["REVOKED"] == 4


def test_a_group_that_left_at_once_is_cancelled_by_its_ids(shop, told):
    result = group([shop.echo.s(i) for i in range(3)]).apply_async()
    assert result.cancel(terminate=True, signal="KILL") == (0, 0, 3)
    assert told == [("ids", result.task_ids(), {"terminate": True, "signal": "KILL"})]
    with pytest.raises(TaskRevoked):
        result.get(timeout=WAIT)


def test_a_group_that_is_cancellable_by_its_stamp_keeps_its_own(shop, told):
    members = [shop.echo.s(0), shop.echo.s(1)]
    members[1].stamp(tenant="eight")
    result = group(members).apply_async(cancellable=True)
    assert stamps_in(shop.app) == [
        {GROUP_STAMP: result.id},
        {GROUP_STAMP: result.id, "tenant": "eight"},
    ]
    result.cancel()
    assert told[0][:2] == ("stamps", {GROUP_STAMP: [result.id]})


def test_chains_and_chords_in_a_group_are_stamped_too(shop, told):
    members = [
        shop.echo.s(0) | shop.echo.s(),
        group(shop.echo.s(1), shop.echo.s(2)) | shop.echo.s(),
    ]
    result = group(members).apply_async(cancellable=True)
    assert stamps_in(shop.app) == [{GROUP_STAMP: result.id}] * 3


def test_done_members_stay_done_and_a_late_look_finds_them(shop, told):
    result = group([shop.echo.s(i) for i in range(4)]).apply_async()
    finish(result, 1)
    result.cancel()
    assert result.get(timeout=WAIT, propagate=False)[1] == 1
    finish(result, 2)
    assert result.counts()["REVOKED"] == 3


def test_a_member_that_is_known_to_run_keeps_its_place(shop, told):
    result = group([shop.echo.s(i) for i in range(4)]).apply_async()
    finish(result, 2, state="STARTED")
    assert result.cancel() == (0, 1, 3)
    until(lambda: result.counts()["REVOKED"] == 3)
    assert not result.ready()
    finish(result, 2)
    until(result.ready)
    assert result.get(timeout=WAIT, propagate=False)[2] == 2


def test_a_member_that_runs_and_is_terminated_is_not_waited_for(shop, told):
    result = group([shop.echo.s(i) for i in range(4)]).apply_async()
    finish(result, 2, state="STARTED")
    assert result.cancel(terminate=True) == (0, 1, 3)
    until(result.ready)


def test_cancelling_twice_or_after_the_end_changes_nothing(shop, told):
    result = group([shop.echo.s(0)]).apply_async()
    finish(result, 0)
    assert result.get(timeout=WAIT) == [0]
    assert result.cancel() == (1, 0, 0)
    assert result.cancel() == (1, 0, 0)
    assert result.get(timeout=WAIT) == [0]
    assert told == []


def test_members_whose_results_are_ignored_are_cancelled_too(shop, told):
    result = group([shop.ignored.s(i) for i in range(3)]).apply_async(cancellable=True)
    assert result.ready()
    assert result.cancel() == (0, 0, 3)
    assert told[0][:2] == ("stamps", {GROUP_STAMP: [result.id]})


def test_members_whose_results_would_have_expired_are_cancelled_too(shop, told):
    result = group([shop.echo.s(i) for i in range(3)]).apply_async(cancellable=True)
    finish(result, 0)
    result.counts()
    result.members.settle([1, 2], Barrier.EXPIRED)
    assert result.cancel() == (1, 0, 2)
    assert told[0][:2] == ("stamps", {GROUP_STAMP: [result.id]})


def test_a_second_cancel_terminates_what_the_first_let_run(shop, told):
    result = group([shop.echo.s(i) for i in range(3)]).apply_async(cancellable=True)
    result.cancel()
    until(result.ready)
    result.cancel(terminate=True)
    assert [how["terminate"] for _, _, how in told] == [False, True]


def test_members_that_end_while_the_workers_are_told_are_counted_once(shop, told):
    result = group([shop.echo.s(i) for i in range(4)]).apply_async(cancellable=True)
    finish(result, 0, 1, 2, state="STARTED")

    def end_them(*_, **__):
        finish(result, 0, 1, 3)
        result.members.take(0)
        result.members.take(1)
        result.members.take(3)

    shop.app.backend.revoke_by_stamped_headers = end_them
    assert result.cancel() == (3, 1, 0)


def test_a_group_that_ran_in_this_process_needs_no_broadcast(shop, told):
    result = group([shop.ignored.s(0), shop.echo.s(1)]).apply()
    assert sum(result.cancel()) == 2
    assert told == []


async def rows(shop):
    for index in range(3):
        yield shop.echo.s(index)


def test_a_group_from_an_async_iterable_is_cancelled_by_its_stamp(shop, told):
    async def main():
        result = await group(rows(shop), app=shop.app).asend()
        await until_in_loop(lambda: result.sealed)
        return result

    result = asyncio.run(main())
    assert stamps_in(shop.app) == [{GROUP_STAMP: result.id}] * 3
    result.cancel()
    assert told[0][:2] == ("stamps", {GROUP_STAMP: [result.id]})


@pytest.mark.parametrize("value", [1, "yes"])
def test_cancellable_is_true_or_false(shop, value):
    with pytest.raises(SettingError, match="cancellable must be"):
        group([shop.echo.s(0)]).apply_async(cancellable=value)
