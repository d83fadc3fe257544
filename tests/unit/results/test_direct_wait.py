"""Waiting for one result in memory: the storing thread wakes the waiter itself."""

from __future__ import annotations

import threading
import time

import pytest

from celerant._core import Barrier
from celerant.errors import CelerantError, ResultExpired, ResultTimeout
from celerant.results.async_result import AsyncResult
from harness.inside import memory_waiters
from harness.until import until


@pytest.fixture
def waiting(memory):
    """Wait in threads; returns a list that fills with their values."""
    threads = []

    def wait(count, act):
        got = []

        def run():
            try:
                got.append(act())
            except Exception as error:  # noqa: BLE001 - shown by the test
                got.append(error)

        before = len(memory._listening)
        for _ in range(count):
            threads.append(threading.Thread(target=run, daemon=True))
            threads[-1].start()
        until(lambda: len(memory._listening) == before + count)
        return got

    yield wait
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    # Nothing is left behind.
    assert memory._listening == []
    assert memory_waiters(memory) == {}


def test_no_consumer_is_started(memory, waiting):
    got = waiting(1, AsyncResult("a", memory).get)
    memory.store_result("a", 1, "SUCCESS")
    until(lambda: got)
    assert got == [1]
    assert memory._own.get().consumer is None
    memory.store_result("b", 2, "SUCCESS")
    assert AsyncResult("b", memory).get(timeout=0) == 2
    assert memory._own.get().consumer is None


def test_several_threads_wait_for_one_task(memory, waiting):
    result = AsyncResult("a", memory)
    got = waiting(3, result.get)
    got_too = waiting(2, AsyncResult("a", memory).get)
    with pytest.raises(ResultTimeout):
        # A waiter that goes leaves the others waiting.
        result.get(timeout=0)
    memory.store_result("a", 1, "SUCCESS")
    until(lambda: len(got) + len(got_too) == 5)
    assert got + got_too == [1] * 5


def test_a_state_on_the_way_ends_no_wait(memory, waiting):
    got = waiting(1, AsyncResult("a", memory).get)
    memory.store_result("a", {"pid": 1}, "STARTED")
    memory.store_result("a", 1, "SUCCESS")
    until(lambda: got)
    assert got == [1]


def test_a_failure_is_raised_and_stays_the_same(memory, waiting):
    result = AsyncResult("a", memory)
    got = waiting(2, result.get)
    memory.store_result("a", KeyError("x"), "FAILURE", "tb")
    until(lambda: len(got) == 2)
    assert isinstance(got[0], KeyError)
    assert got[0] is got[1] is result.result


def test_a_timeout_names_the_task(memory):
    result = AsyncResult("a", memory)
    for timeout in (0, 0.01):
        with pytest.raises(ResultTimeout, match="task a"):
            result.get(timeout=timeout)
    assert memory._listening == []
    memory.store_result("a", 1, "SUCCESS")
    assert result.get(timeout=5) == 1


def test_a_member_of_a_group_and_the_whole_group_can_be_awaited_at_once(
    memory, waiting, group_of
):
    group = group_of(2, memory)
    got = waiting(1, group[1].get)
    assert not group.ready()
    memory.store_result(group[1].id, "b", "SUCCESS")
    until(lambda: got)
    assert got == ["b"]
    memory.store_result(group[0].id, "a", "SUCCESS")
    assert group.get(timeout=5) == ["a", "b"]


def test_a_callback_is_called_beside(memory, waiting):
    called = threading.Event()
    result = AsyncResult("a", memory)
    got = waiting(1, result.get)
    result.then(lambda _: called.set())
    memory.store_result("a", 1, "SUCCESS")
    assert called.wait(5)
    until(lambda: got)


def test_close_tells_waiters(memory, waiting):
    result = AsyncResult("a", memory)
    got = waiting(1, result.get)
    memory.close()
    until(lambda: got)
    assert isinstance(got[0], CelerantError)
    assert "closed" in str(got[0])
    memory.store_result("a", 1, "SUCCESS")
    assert result.get(timeout=5) == 1


def test_an_expired_result_raises_at_once(memory, group_of):
    group = group_of(1, memory, sent_at=time.time() - memory.expires - 1)
    with pytest.raises(ResultExpired):
        group[0].get(timeout=5)
    assert group.members.barrier.state(0) == Barrier.EXPIRED


def test_a_waiter_that_stops_leaves_the_others_listening(memory):
    store, told = memory._shared, []
    store.listen("a", told.append)

    class Listeners(dict):
        """A record is stored at each change of it."""

        stored = 0

        def __setitem__(self, *item):
            super().__setitem__(*item)
            self.store()

        def pop(self, *args):
            found = super().pop(*args)
            self.store()
            return found

        def store(self):
            self.stored += 1
            store.put("a", b"{}", 0)

    woken = []
    store._listeners = Listeners({"a": (lambda: woken.append(1), told.append)})
    store.unlisten("a", told.append)
    assert len(woken) == store._listeners.stored > 0
    assert set(store._listeners) == {"a"}
