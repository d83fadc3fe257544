from __future__ import annotations

import logging
import threading
import time

import pytest

from celerant._core import Barrier, monotonic
from celerant.context.request import Request, current_request
from celerant.errors import (
    NotSent,
    ResultExpired,
    ResultTimeout,
    SettingError,
    TaskRevoked,
)
from celerant.results.backends import open_backend
from celerant.results.consuming import sweeping
from harness.until import until


def store(result, index, value, state="SUCCESS"):
    result.backend.store_result(result.roster.id(index), value, state)


def test_values_come_in_member_order(memory, group_of):
    result = group_of(5, memory)
    for index in (3, 0, 4, 1, 2):
        store(result, index, index * 10)
    assert result.get(timeout=5) == [0, 10, 20, 30, 40]
    assert result.get(timeout=0) == [0, 10, 20, 30, 40]


def test_values_that_arrive_while_waiting_end_the_wait(memory, group_of):
    result = group_of(100, memory)
    assert not result.ready()
    storing = threading.Thread(
        target=lambda: [store(result, i, i) for i in reversed(range(100))]
    )
    storing.start()
    assert result.get(timeout=5) == list(range(100))
    storing.join()


def test_get_raises_the_failure_that_arrived_first(memory, group_of):
    result = group_of(3, memory)
    assert not result.ready()
    store(result, 2, KeyError("first"), "FAILURE")
    assert result.members.wait(result[2].failed, monotonic() + 5)
    store(result, 0, ValueError("second"), "FAILURE")
    assert result.members.wait(result[0].failed, monotonic() + 5)
    with pytest.raises(KeyError, match="first"):
        result.get(timeout=5)
    assert result.failed()
    assert not result.ready()


def test_await_without_propagate_puts_failures_in_their_places(memory, group_of):
    result = group_of(4, memory)
    store(result, 0, 1)
    store(result, 1, KeyError("k"), "FAILURE")
    store(result, 2, TaskRevoked("r"), "REVOKED")
    with pytest.raises(ResultTimeout) as caught:
        result.get(timeout=0, propagate=False)
    assert caught.value.remaining == 1
    store(result, 3, 4)
    values = result.get(timeout=5, propagate=False)
    assert (values[0], values[3]) == (1, 4)
    assert isinstance(values[1], KeyError)
    assert isinstance(values[2], TaskRevoked)
    assert result.get(timeout=0, propagate=False)[1] is values[1]


def test_a_timeout_without_any_result_names_doctor(fake, group_of, monkeypatch):
    result = group_of(2, fake)
    doctor = "`celerant doctor -A MODULE:APP` looks for the cause"
    with pytest.raises(ResultTimeout, match=rf"missing after 0 s; {doctor}$"):
        result.get(timeout=0)
    # Another process does not see the memory of this one.
    with monkeypatch.context() as patch:
        patch.setattr(fake, "as_uri", lambda: "memory://")
        with pytest.raises(ResultTimeout, match=r"missing after 0 s$"):
            result.get(timeout=0)
    begun = group_of(2, fake)
    store(begun, 0, 1)
    with pytest.raises(ResultTimeout, match=r"1 of 2 .* missing after 0.2 s$"):
        begun.get(timeout=0.2)


def test_looking_again_asks_nobody(fake, group_of, monkeypatch):
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    result = group_of(2500, fake)
    assert result.completed_count() == 0
    asked = len(fake.fetched)
    for _ in range(1000):
        result.ready()
        result.completed_count()
        result.counts()
    assert len(fake.fetched) == asked
    assert max(map(len, fake.fetched)) <= 1000


def test_polling_for_ready_ends(memory, group_of):
    result = group_of(3, memory)
    threading.Timer(0, lambda: [store(result, i, i) for i in range(3)]).start()
    until(result.ready)
    assert result.successful()


def test_counts_name_every_state(memory, group_of):
    result = group_of(5, memory, ignored=[4])
    result.members.settle([3], Barrier.NOT_SENT)
    store(result, 0, 1)
    store(result, 1, KeyError("k"), "FAILURE")
    assert result.counts() == {
        "PENDING": 1,
        "SUCCESS": 1,
        "FAILURE": 1,
        "REVOKED": 0,
        "IGNORED": 1,
        "NOT_SENT": 1,
        "EXPIRED": 0,
    }
    assert result.completed_count() == 2
    assert result.waiting()


def test_ignored_members_give_none_and_are_asked_of_nobody(fake, group_of):
    result = group_of(3, fake, ignored=range(3))
    assert result.get(timeout=0) == [None, None, None]
    assert result.successful()
    assert fake.fetched == []
    assert fake.feed.asked == []


def test_members_that_never_left_raise_not_sent(fake, group_of):
    result = group_of(3, fake)
    result.members.settle([1], Barrier.NOT_SENT)
    with pytest.raises(NotSent) as caught:
        result.get(timeout=5)
    assert caught.value.group_index == 1
    with pytest.raises(NotSent):
        result[1].get(timeout=5)
    assert result.failed()
    assert all("1" not in ids for ids in fake.fetched)


def test_a_resumed_dispatch_keeps_arrived_members(memory, group_of):
    result = group_of(4, memory)
    result.members.settle(range(2, 4), Barrier.NOT_SENT)
    store(result, 0, "a")
    with pytest.raises(NotSent):
        result.get(timeout=5)
    assert result[0].get(timeout=5) == "a"
    memory.forget([result[0].id])
    result.members.renew()
    result.sent_again("new report")
    assert result.report == "new report"
    assert not result.failed()
    for index in (1, 2, 3):
        store(result, index, index)
    assert result.get(timeout=5) == ["a", 1, 2, 3]


def test_an_empty_group_is_done(fake, group_of):
    result = group_of(0, fake)
    assert result.get() == []
    assert result.successful()
    assert result
    assert fake.fetched == []


def test_results_past_their_life_are_expired_not_awaited(memory, group_of):
    result = group_of(2, memory, sent_at=time.time() - memory.expires - 5)
    store(result, 0, 1)
    with pytest.raises(ResultExpired):
        result.get()
    assert result[0].get() == 1
    assert result.counts()["EXPIRED"] == 1


def test_then_is_called_once_when_all_are_done(memory, group_of):
    result = group_of(2, memory)
    called, done = [], threading.Event()

    def note(got):
        called.append(got.get(timeout=0))
        done.set()

    result.then(note)
    store(result, 0, 1)
    store(result, 1, 2)
    assert done.wait(5)
    store(result, 1, 2)
    result.then(note)
    assert called == [[1, 2], [1, 2]]


def test_then_keeps_a_result_that_nobody_else_holds(memory, group_of):
    done = threading.Event()
    result = group_of(1, memory)
    task_id = result[0].id
    result.then(lambda _: done.set())
    del result
    memory.store_result(task_id, 1, "SUCCESS")
    assert done.wait(5)


def test_on_error_is_called_in_place_of_the_callback(memory, group_of):
    result = group_of(1, memory)
    failed = threading.Event()
    result.then(pytest.fail, on_error=lambda _: failed.set())
    store(result, 0, KeyError("k"), "FAILURE")
    assert failed.wait(5)


def test_an_error_of_a_callback_is_logged(memory, group_of, caplog):
    result = group_of(1, memory)
    second = threading.Event()
    with caplog.at_level(logging.ERROR, "celerant"):
        result.then(lambda _: 1 / 0)
        result.then(lambda _: second.set())
        store(result, 0, 1)
        assert second.wait(5)
    assert "ZeroDivisionError" in caplog.text


def test_waiting_inside_a_task_is_refused(memory, group_of):
    result = group_of(1, memory)
    store(result, 0, 1)
    token = current_request.set(Request(id="outer", task="shop.add"))
    try:
        with pytest.raises(RuntimeError, match=r"inside task shop\.add"):
            result.get()
        with pytest.raises(RuntimeError, match="inside task"):
            result[0].get()
        assert result.get(timeout=5, disable_sync_subtasks=False) == [1]
    finally:
        current_request.reset(token)


def test_members_are_reached_by_index_slice_and_iteration(memory, group_of):
    result = group_of(5, memory)
    ids = result.roster.ids(0, 5)
    assert [member.id for member in result] == ids
    assert result[-1].id == ids[4]
    assert [member.id for member in result[1:4:2]] == [ids[1], ids[3]]
    assert result.results == list(result)
    with pytest.raises(IndexError, match="no member 5"):
        result[5]
    with pytest.raises(IndexError):
        result[-6]


def test_equality_hash_and_text_go_by_the_id(memory, group_of):
    result = group_of(2, memory)
    assert result == result.id
    assert result != group_of(2, memory)
    assert hash(result) == hash(result.id)
    assert str(result) == result.id
    assert "2 members, not looked at" in repr(result)
    assert not result.ready()
    assert "2 members, 2 pending" in repr(result)
    assert result.as_tuple() == (
        (result.id, None),
        [((member.id, None), None) for member in result],
    )


def test_forget_deletes_the_records(memory, group_of):
    result = group_of(3, memory)
    store(result, 1, 1)
    result.forget()
    assert memory.fetch(result.roster.ids(0, 3)) == [None] * 3


def test_a_wait_without_a_backend_names_the_missing_setting(group_of):
    backend = open_backend(None, name="none")
    result = group_of(1, backend)
    backend.store_result(result[0].id, 1, "SUCCESS")
    with pytest.raises(SettingError) as caught:
        result.get(timeout=1)
    assert caught.value.name == "result_backend"


def test_eager_values_need_no_backend(group_of, sealed):
    barrier = sealed(2)
    error = KeyError("k")
    barrier.arrive(0, Barrier.SUCCESS)
    barrier.arrive(1, Barrier.FAILURE)
    result = group_of(
        2, open_backend(None, name="x"), barrier=barrier, values=[1, error]
    )
    assert result.get(propagate=False) == [1, error]


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE"])
def test_all_ways_to_look_agree(fake, group_of, state):
    # The record is there, and its notification is late.
    result = group_of(3, fake)
    assert result.completed_count() == 0
    value = 7 if state == "SUCCESS" else KeyError("k")
    store(result, 1, value, state)

    assert not result[1].ready()
    assert result[1].state == state
    assert result[1].ready()
    assert result.completed_count() == (state == "SUCCESS")
    assert result.failed() == (state == "FAILURE")
    assert result[0].state == result[2].state == "PENDING"


def test_a_waiter_is_woken_though_a_look_came_first(fake, group_of):
    result = group_of(1, fake)
    assert not result.ready()
    got = []
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=10)))
    waiting.start()
    store(result, 0, 7)
    assert result[0].result == 7
    fake.push(result[0].id, 7)
    waiting.join(10)
    assert got == [[7]]
