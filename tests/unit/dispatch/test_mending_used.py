"""Members that are sent once more after their results were used, or before any came."""

from __future__ import annotations

import asyncio

import pytest

from celerant import chain, group
from celerant.errors import CanvasError
from celerant.results.tracking.survival import Survival
from harness.until import until

WAIT = 10
SIZE = 6


@pytest.fixture
def result(desk):
    """That of a group of which member 3 has failed."""
    made = group([desk.echo.s(i) for i in range(SIZE)]).apply_async(cancellable=True)
    desk.take()
    desk.finish(made, *(i for i in range(SIZE) if i != 3))
    desk.finish(made, 3, state="FAILURE")
    return made


def test_a_loop_that_forgets_leaves_alone_what_its_body_sends_again(desk, result):
    came = []
    for member in result.as_completed(timeout=WAIT, forget=True):
        came.append(member.index)
        if member.failed():
            result.retry([member.index])
            desk.finish(result, 3)
    assert sorted(came) == list(range(SIZE))
    assert result[3].get(timeout=WAIT) == 3
    assert desk.app.backend.read(result.roster.id(3)) is not None


def test_a_loop_in_an_event_loop_leaves_alone_what_its_body_sends_again(desk, result):
    async def main():
        async for member in result.as_completed(timeout=WAIT, forget=True):
            if member.failed():
                result.retry([member.index])
                desk.finish(result, 3)
        return await result[3]

    assert asyncio.run(main()) == 3


def test_records_that_are_deleted_later_are_not_those_of_the_new_run(desk, result):
    come = result.as_completed(timeout=WAIT, forget=True)
    for _ in range(SIZE - 1):
        next(come)
    # All that were used wait to be deleted together.
    result.retry("failed")
    desk.finish(result, 3)
    assert len(list(come)) == 1
    assert result[3].get(timeout=WAIT) == 3
    assert desk.app.backend.read(result.roster.id(3)) is not None
    assert desk.app.backend.read(result.roster.id(0)) is None


def test_members_whose_results_were_used_before_come_when_they_are_sent_again(
    desk, result
):
    until(result.ready)
    result.members.survival = Survival(lambda *_: None, used=[(0, 2), (2, 5)])
    assert [m.index for m in result.as_completed(timeout=WAIT)] == [5]
    result.retry("failed")
    desk.finish(result, 3)
    again = [m.index for m in result.as_completed(timeout=WAIT)]
    assert sorted(again) == [3, 5]
    assert result.members.survival.used == [(0, 2), (2, 3), (4, 5)]


@pytest.fixture
def cancelled(desk):
    """The result of a group that was cancelled before a worker came."""
    made = group([desk.echo.s(i) for i in range(SIZE)]).apply_async(cancellable=True)
    desk.take()
    made.cancel()
    until(made.ready)
    return made


def test_cancelled_members_that_were_dropped_and_used_are_sent_again(desk, cancelled):
    desk.finish(cancelled, *range(SIZE), state="REVOKED")
    assert len(list(cancelled.as_completed(timeout=WAIT, forget=True))) == SIZE
    cancelled.retry("missing")
    assert len(desk.take()) == SIZE
    desk.finish(cancelled, *range(SIZE))
    assert cancelled.get(timeout=WAIT) == list(range(SIZE))


def test_cancelled_members_that_were_used_may_wait_in_a_queue_still(desk, cancelled):
    assert len(list(cancelled.as_completed(timeout=WAIT, forget=True))) == SIZE
    with pytest.raises(CanvasError, match="member 0 was cancelled, and no worker"):
        cancelled.retry("missing")
    desk.finish(cancelled, *range(SIZE), state="REVOKED")
    cancelled.retry("missing")
    assert len(desk.take()) == SIZE


@pytest.mark.parametrize("state", ["RETRY", "STARTED", "PROGRESS"])
def test_a_record_of_a_cancelled_member_must_tell_its_end(desk, cancelled, state):
    desk.finish(cancelled, *range(1, SIZE), state="REVOKED")
    value = OSError("later") if state == "RETRY" else {}
    desk.app.backend.store_result(cancelled.roster.id(0), value, state)
    with pytest.raises(CanvasError, match="member 0 was cancelled, and no worker"):
        cancelled.retry("missing")
    assert desk.take() == []
    desk.finish(cancelled, 0, state="REVOKED")
    cancelled.retry("missing")
    assert len(desk.take()) == SIZE


def test_the_steps_of_a_chain_that_is_sent_again_have_no_old_records(desk):
    members = [chain(desk.echo.s(0), desk.echo.s(), desk.echo.s())]
    result = group(members).apply_async(cancellable=True)
    desk.take()
    # As a worker stores a chain whose first step fails.
    steps = [result[0].parent.parent.id, result[0].parent.id, result[0].id]
    for step in steps:
        desk.app.backend.store_result(step, ValueError("old"), "FAILURE")
    until(result.ready)
    result.retry("failed")
    assert desk.app.backend.fetch(steps) == [None] * 3
    for step in steps:
        desk.app.backend.store_result(step, "new", "SUCCESS")
    assert result[0].get(timeout=WAIT) == "new"


def test_a_failure_that_comes_late_is_not_that_of_the_new_run(desk, result):
    until(result.ready)
    late = desk.app.backend.read(result.roster.id(3))
    result.retry("failed")
    # As the store's news bring it that were read before the retry.
    result.members.absorb([3], [late])
    assert not result.ready()
    desk.finish(result, 3)
    assert result.get(timeout=WAIT) == list(range(SIZE))
