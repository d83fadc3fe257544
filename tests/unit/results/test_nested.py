"""Members of a group that are groups themselves."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from celerant._core import Barrier
from celerant.errors import NotSent, ResultExpired, ResultTimeout
from celerant.results.group_result import GroupResult
from celerant.results.handle import attach
from celerant.results.tree import result_from_tuple


def task(task_id, parent=None):
    return (task_id, parent), None


#: A task; a chain of p and q that ends in a group; a chain of two tasks.
FORM = (
    ("g", None),
    [
        task("a"),
        (("inner", task("q", task("p"))), [task("b"), task("c")]),
        task("e", task("d")),
    ],
)


@pytest.fixture
def result(memory):
    return result_from_tuple(FORM, memory)


def store(result, state="SUCCESS", **values):
    for task_id, value in values.items():
        result.backend.store_result(task_id, value, state)


def test_the_value_of_a_group_in_a_group_is_a_list_in_its_place(result):
    store(result, a=1, c=3, e=5)
    assert not result.ready()
    store(result, b=2)
    assert result.get(timeout=5) == [1, [2, 3], 5]
    assert result.successful()
    assert result.completed_count() == 3


def test_a_group_in_a_group_has_a_group_result_of_its_own(result):
    inner = result[1]
    assert isinstance(inner, GroupResult)
    assert inner is result[1] is result.results[1] is list(result)[1]
    assert (inner.id, inner.parent.id, inner.parent.parent.id) == ("inner", "q", "p")
    store(result, b=2)
    assert inner[0].get(timeout=5) == 2
    assert (inner.ready(), inner.completed_count()) == (False, 1)
    store(result, c=3)
    assert inner.get(timeout=5) == [2, 3]
    assert not result.ready()


def test_a_group_in_a_group_arrives_while_the_whole_is_awaited(result):
    store(result, a=1, e=5)
    assert not result.ready()
    storing = threading.Thread(target=store, args=[result], kwargs={"b": 2, "c": 3})
    storing.start()
    assert result.get(timeout=5) == [1, [2, 3], 5]
    storing.join()


def test_a_failure_inside_ends_the_wait_before_the_others_are_done(result):
    store(result, "FAILURE", c=KeyError("c"))
    with pytest.raises(KeyError, match="c"):
        result.get(timeout=5)
    assert result.counts()["PENDING"] == 3
    store(result, a=1, b=2, e=5)
    values = result.get(timeout=5, propagate=False)
    assert (values[0], values[2]) == (1, 5)
    assert values[1][0] == 2
    assert isinstance(values[1][1], KeyError)
    assert result.counts()["FAILURE"] == 1
    assert result.failed()
    assert not result.successful()


def test_a_group_in_a_group_in_a_group_gives_nested_lists(memory):
    deep = (("x", None), [(("y", None), [(("z", None), [task("a"), task("b")])])])
    result = result_from_tuple(deep, memory)
    assert not result.ready()
    store(result, a=1, b=2)
    assert result.get(timeout=5) == [[[1, 2]]]
    assert result[0][0][1].get(timeout=5) == 2


def test_members_of_chains_know_their_parents(result):
    assert result[2].parent.id == "d"
    assert result[0].parent is None
    assert result.as_tuple() == FORM
    assert result.as_list() == ["a", "b", "c", "q", "p", "e", "d"]


def test_forget_and_revoke_reach_all_tasks(result):
    revoked = []
    result.backend.revoke = lambda ids, **_: revoked.extend(ids)
    ids = result.as_list()
    store(result, **dict.fromkeys(ids, 1))
    result.revoke()
    assert revoked == ids
    result.forget()
    assert result.backend.fetch(ids) == [None] * len(ids)


def test_a_timeout_names_the_inner_group_or_task(result):
    with pytest.raises(ResultTimeout, match=r"2 of 2 .* group inner \(group\[1\]\) "):
        result[1].get(timeout=0)
    with pytest.raises(ResultTimeout, match=r"task c \(group\[1\]\[1\]\) is not done"):
        result[1][1].get(timeout=0)


def test_members_inside_an_unsent_member_are_not_awaited(result):
    inner = result[1]
    result.members.settle([1], Barrier.NOT_SENT)
    with pytest.raises(NotSent, match=r"member 0 of group\[1\] never reached"):
        result[1].get(timeout=5)
    result.members.renew()
    store(result, a=1, b=2, c=3, e=5)
    assert result.get(timeout=5) == [1, [2, 3], 5]
    assert inner.get(timeout=0) == [2, 3]


def test_a_group_in_a_group_expires_with_its_own_members(memory):
    result = result_from_tuple(FORM, memory)
    result.members.sent_at -= memory.expires + 5
    store(result, a=1, b=2, e=5)
    values = result.get(timeout=5, propagate=False)
    assert values[1][0] == 2
    assert isinstance(values[1][1], ResultExpired)


def test_a_callback_waits_for_the_group_in_the_group(result):
    done = threading.Event()
    result.then(lambda _: done.set())
    store(result, a=1, e=5, b=2)
    assert not done.is_set()
    store(result, c=3)
    assert done.wait(5)


def test_a_group_in_a_group_comes_among_the_others_in_an_event_loop(result):
    store(result, a=1, b=2, c=3, e=5)

    async def take():
        return [member.id async for member in result], await result, await result[1]

    ids, values, inner = asyncio.run(take())
    assert sorted(ids) == ["a", "e", "inner"]
    assert (values, inner) == ([1, [2, 3], 5], [2, 3])


def test_a_group_in_a_group_comes_as_soon_as_it_is_complete(result):
    async def take():
        members = aiter(result)
        ids = []
        for values in ({"a": 1}, {"b": 2, "c": 3}, {"e": 5}):
            store(result, **values)
            ids.append((await asyncio.wait_for(anext(members), 5)).id)
        return ids

    assert asyncio.run(take()) == ["a", "inner", "e"]


def test_dropping_the_whole_result_drops_the_inner_one(result):
    assert not result.ready()
    inner = weakref.ref(result[1].members)
    gc.disable()
    try:
        del result.members._nested
        assert inner() is None
    finally:
        gc.enable()


def test_a_handle_keeps_the_groups_inside(fake):
    kept = {}
    fake.supports_handles = True
    fake.put_aside, fake.take_aside = kept.__setitem__, kept.get
    fake.handle_key = lambda: b"key"
    form = (FORM[0][0], task("before", task("first"))), FORM[1]
    again = attach(result_from_tuple(form, fake).handle, fake)
    assert again.as_tuple() == form
    store(again, a=1, b=2, c=3, e=5)
    assert again.get(timeout=5) == [1, [2, 3], 5]
