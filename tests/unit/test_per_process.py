from __future__ import annotations

import itertools
import sys
import threading
from contextlib import suppress

import pytest

from celerant.common.per_process import PerProcess
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
    lock, held, done = PerProcess(make), threading.Event(), threading.Event()

    def hold():
        with lock.get():
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)

    def take():
        with lock.get():
            return "taken"

    try:
        assert in_child(take, fork) == "taken"
    finally:
        done.set()
        thread.join()


class _Interrupt(BaseException):
    """As `KeyboardInterrupt`, which pytest takes for its own."""


@pytest.mark.parametrize("at", range(12))
def test_an_interruption_of_our_code_leaves_no_lock_held(at):
    lock, events = PerProcess(threading.Lock), itertools.count()

    def trace(frame, event, _arg):
        if not frame.f_code.co_filename.endswith("per_process.py"):
            return None
        if event in {"line", "return"} and next(events) == at:
            raise _Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(_Interrupt), lock.get():
            pass
    finally:
        sys.settrace(before)
    assert next(events) > 0
    assert lock.get().acquire(blocking=False)
