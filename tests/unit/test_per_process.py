from __future__ import annotations

import threading

import pytest

from celerant.common.per_process import PerProcess, ProcessLock
from harness.forking import FORKS, in_child


@pytest.fixture(params=FORKS)
def fork(request):
    return FORKS[request.param]


def test_a_value_is_kept_for_as_long_as_the_process_lives():
    kept = PerProcess(object)
    assert kept.get() is kept.get()


def test_a_child_makes_a_value_of_its_own_once_and_leaves_its_parents(fork):
    left = []
    kept = PerProcess(list, left.append)
    kept.get().append("parent's")

    def use():
        kept.get().append("child's")
        return kept.get(), left

    assert in_child(use, fork) == (["child's"], [["parent's"]])
    assert kept.get() == ["parent's"]
    assert left == []


def test_threads_of_a_child_agree_on_its_value(fork):
    kept = PerProcess(object)

    def use():
        start, found = threading.Barrier(8), []

        def look():
            start.wait(10)
            found.append(kept.get())

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len({id(value) for value in found}), len(found)

    assert in_child(use, fork) == (1, 8)


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_child_finds_a_lock_free_that_a_thread_of_its_parent_holds(fork, make):
    lock, held, done = ProcessLock(make), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)

    def take():
        with lock:
            return "taken"

    try:
        assert in_child(take, fork) == "taken"
    finally:
        done.set()
        thread.join()
