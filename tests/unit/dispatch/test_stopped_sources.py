"""Groups whose source comes back after they were stopped."""

from __future__ import annotations

import threading

import pytest

from celerant import group
from celerant.errors import NotSent
from harness.until import until


@pytest.mark.parametrize("how", ["more", "raises"])
def test_what_a_source_gives_after_a_cancel_is_no_part_of_the_group(shop, how):
    shop.app.backend.obstacle = lambda: None
    shop.app.backend.revoke_by_stamped_headers = lambda *_, **__: None
    go = threading.Event()

    def slow():
        yield shop.echo.s(0)
        go.wait(timeout=30)
        for index in range(1, 6):
            yield shop.echo.s(index)
        if how == "raises":
            raise OSError("the disk is gone")

    result = group(slow()).apply_async(window=50)
    until(lambda: len(result.members.barrier) == 1)
    result.cancel()
    assert len(result) == 1
    go.set()
    until(lambda: not result.feeding.is_running)
    assert len(result) == len(result.task_ids()) == len(result.as_tuple()[1]) == 1


def test_a_group_that_was_frozen_keeps_its_members_after_a_cancel(shop):
    shop.app.backend.obstacle = lambda: None
    shop.app.backend.revoke_by_stamped_headers = lambda *_, **__: None
    members = group([shop.echo.s(i) for i in range(6)])
    members.freeze()
    result = members.apply_async(window=2)
    until(lambda: len(result.report.confirmed) == 1)
    result.cancel()
    until(lambda: not result.feeding.is_running)
    assert len(result) == len(result.task_ids()) == len(result.as_tuple()[1]) == 6


def test_a_list_with_a_bad_member_says_why_none_was_sent(shop):
    shop.app.backend.obstacle = lambda: None
    result = group([shop.echo.s(0), shop.echo.s(object())]).apply_async(window=3)
    with pytest.raises(NotSent, match=r"was not sent: group\[1\]: task") as caught:
        result.get(timeout=10)
    assert caught.value.__cause__ is result.source_error
    (failure,) = result.failures()
    assert (failure.count, "group[1]" in failure.message) == (2, True)
