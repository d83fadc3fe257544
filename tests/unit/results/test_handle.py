from __future__ import annotations

import os

import pytest

from celerant._core import Barrier, Roster
from celerant.errors import CelerantError, ResultExpired
from celerant.results.group_result import GroupResult
from celerant.results.handle import HandleError, attach


@pytest.fixture
def shared(fake):
    """A backend that other processes could see."""
    kept = {}
    fake.supports_handles = True
    fake.put_aside = kept.__setitem__
    fake.take_aside = kept.get
    fake.kept = kept
    return fake


def test_a_plain_group_needs_nothing_stored(shared, group_of):
    result = group_of(100_000, shared)
    again = attach(result.handle, shared)
    assert again == result
    assert again.roster.ids(0, 100_000) == result.roster.ids(0, 100_000)
    assert len(result.handle) < 200
    assert shared.kept == {}


def test_the_user_s_group_id_comes_along(shared, sealed):
    for group_id in ("orders-2026", "ü" * 300):
        roster = Roster(os.urandom(16), 2)
        result = GroupResult(
            roster=roster, group_id=group_id, barrier=sealed(2), backend=shared
        )
        assert attach(result.handle, shared).id == group_id
        assert len(result.handle) < 200


def test_own_ids_ignored_and_unsent_members_are_kept_aside(shared, group_of):
    result = group_of(1000, shared, ignored=range(10, 20))
    result.roster.adopt(3, "mine")
    result._members.barrier.arrive_range(500, 1000, Barrier.NOT_SENT)
    again = attach(result.handle, shared)
    assert again[3].id == "mine"
    assert again._members.barrier.states() == result._members.barrier.states()
    (stored,) = shared.kept.values()
    assert len(stored) < 200


def test_what_is_kept_aside_may_be_gone(shared, group_of):
    result = group_of(2, shared, ignored=[0])
    handle = result.handle
    shared.kept.clear()
    with pytest.raises(ResultExpired, match="is gone from"):
        attach(handle, shared)


def test_results_of_one_process_have_no_handle(memory, fake, group_of):
    with pytest.raises(CelerantError, match="live in this process alone"):
        _ = group_of(2, memory).handle
    fake.supports_handles = True
    handle = group_of(2, fake).handle
    with pytest.raises(CelerantError, match="live in this process alone"):
        attach(handle, memory)


def test_a_group_still_being_sent_has_no_handle_yet(shared, group_of):
    growing = Barrier()
    growing.grow(1)
    with pytest.raises(CelerantError, match="still being sent"):
        _ = group_of(1, shared, barrier=growing).handle


_BREAK = {
    "cut": lambda handle: handle[:-1],
    "one character": lambda handle: (
        handle[:30] + ("A" if handle[30] != "A" else "B") + handle[31:]
    ),
    "longer": lambda handle: handle + "AAAA",
    "another version": lambda handle: handle.replace("cel1.", "cel2."),
    "only the mark": lambda handle: handle[:5],
    "empty": lambda _: "",
    "not base64": lambda _: "cel1.é" + "x" * 300,
    "not text": lambda _: None,
}


@pytest.mark.parametrize("how", _BREAK)
def test_a_broken_handle_is_refused(shared, group_of, how):
    with pytest.raises(HandleError, match="handle") as caught:
        attach(_BREAK[how](group_of(2, shared).handle), shared)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 200
