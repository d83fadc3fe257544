"""Ids given ahead of the send."""

from __future__ import annotations

import copy

import pytest

from celerant import group
from celerant.errors import CanvasError
from harness.capture import drain


def _ids(shop):
    sent = drain("memory://", shop.app.conf.task_default_queue)
    return [message.headers["id"] for message in sent]


def _all(result):
    return [result.id, *(member.id for member in result)]


@pytest.mark.parametrize("times", [1, 2])
def test_a_frozen_group_is_sent_under_its_ids(shop, times):
    members = group([shop.add.s(1, 2), group([shop.add.s(3, 4)])])
    frozen = members.freeze()
    for _ in range(times):
        assert _all(members.apply_async()) == _all(frozen)
    assert _ids(shop) == [member.id for member in frozen] * times


def test_freezing_again_changes_nothing(shop):
    members = group([shop.add.s(1, 2), shop.add.s(3, 4).set(task_id="mine")])
    first = members.freeze()
    assert _all(members.freeze()) == _all(first)
    assert first[1].id == "mine"
    # Derived ids stay derived: nothing is kept per member.
    assert first.roster.own() == {1: "mine"}
    assert members.freeze().roster.own() == {1: "mine"}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, group.clone])
def test_a_copy_of_a_frozen_group_has_its_ids(shop, copied):
    members = group([shop.add.s(1, 2), shop.add.s(3, 4)])
    frozen = members.freeze()
    result = copied(members).apply_async()
    assert _all(result) == _all(frozen)
    # Derived, not kept one by one.
    assert result.roster.own() == {}


def test_the_callers_signatures_are_not_frozen(shop):
    inside = shop.add.s(1, 2)
    given = [inside]
    group(given).freeze()
    assert inside.id is None
    assert given[0] is inside


def test_a_frozen_member_waits_for_no_ignored_result(shop):
    members = group([shop.add.s(1, 2), shop.ignored.s(), shop.add.s(1, 1)])
    members.set(countdown=0)
    frozen = members.freeze()
    with shop.app.worker(concurrency=1):
        members.apply_async()
        assert frozen.get(timeout=10) == [3, None, 2]


def test_a_frozen_group_of_ignored_members_is_ready(shop):
    frozen = group([shop.add.s(1, 2)], ignore_result=True).freeze()
    assert frozen.ready()
    assert frozen.get(timeout=1) == [None]


@pytest.mark.parametrize("at", [0, 1])
def test_a_frozen_group_that_was_reordered_is_refused(shop, at):
    members = group([shop.add.s(1, 2), shop.add.s(3, 4)])
    members.freeze()
    members.tasks.insert(at, shop.add.s(5, 6))
    # Its id would be the one that the member after it has.
    with pytest.raises(CanvasError, match="share one result") as caught:
        members.apply_async()
    assert caught.value.path == f"group[{at + 1}]"
    assert _ids(shop) == []


def test_a_member_added_after_freezing_is_sent_too(shop):
    members = group([shop.add.s(1, 2)])
    frozen = members.freeze()
    members.add(shop.add.s(3, 4))
    result = members.apply_async()
    assert result[0].id == frozen[0].id
    assert len(set(_all(result))) == 3


def test_two_members_of_one_id_are_refused(shop):
    members = [shop.add.s(1, 2).set(task_id="one"), shop.add.s(1, 2)]
    members.append(members[0])
    # Their one result could not be told apart.
    with pytest.raises(CanvasError, match="share one result") as caught:
        group(members).apply_async()
    assert caught.value.path == "group[2]"
    assert _ids(shop) == []
