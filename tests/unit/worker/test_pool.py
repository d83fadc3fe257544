from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from collections import deque

import pytest

from celerant.worker.pool import Pool
from harness.until import until


def make(size, execute, jobs):
    def take():
        try:
            return jobs.popleft()
        except IndexError:
            return None

    return Pool(size, take, execute, waiting=lambda: bool(jobs), name="test")


def test_deliveries_run_even_if_all_slots_were_busy_when_they_came():
    # A slot that just found nothing and one that adds meet here thousands of times.
    jobs, ended, many = deque(), [], 20_000
    done = threading.Event()

    def execute(job):
        ended.append(job)
        if len(ended) == many:
            done.set()

    pool = make(2, execute, jobs)
    for job in range(many):
        jobs.append(job)
        pool.wake(1)
    assert done.wait(20), f"{many - len(ended)} of {many} are stranded"
    pool.close()
    pool.join()
    assert sorted(ended) == list(range(many))
    assert pool.busy == 0


def test_never_more_run_at_once_than_there_are_slots():
    jobs, gate = deque(range(6)), threading.Semaphore(0)
    inside = threading.Semaphore(0)
    running, most, lock = 0, 0, threading.Lock()

    def execute(_job):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        inside.release()
        assert gate.acquire(timeout=10)
        with lock:
            running -= 1

    pool = make(3, execute, jobs)
    pool.wake(6)
    for _ in range(3):
        assert inside.acquire(timeout=10)
    assert pool.busy == 3
    gate.release(6)
    for _ in range(3):
        assert inside.acquire(timeout=10)
    pool.close()
    pool.join()
    assert most == 3


def test_a_slot_survives_errors_of_execute(caplog):
    jobs, ended = deque([1, 2, 3]), []

    def execute(job):
        if job == 1:
            raise RuntimeError("broken")
        ended.append(job)

    pool = make(1, execute, jobs)
    pool.wake(1)
    pool.join()
    assert ended == [2, 3]
    assert "a slot of the worker failed" in caplog.text


def test_close_lets_the_running_one_end_and_starts_no_other():
    jobs, ended = deque([1, 2]), []
    entered, gate = threading.Event(), threading.Event()

    def execute(job):
        entered.set()
        assert gate.wait(10)
        ended.append(job)

    pool = make(1, execute, jobs)
    pool.wake(2)
    assert entered.wait(10)
    pool.close()
    gate.set()
    pool.join()
    assert ended == [1]
    assert list(jobs) == [2]


@pytest.mark.parametrize("waiting", [0, -1])
def test_wake_without_deliveries_starts_no_threads(waiting):
    pool = make(1, lambda _job: None, deque([1]))
    pool.wake(waiting)
    assert pool.busy == 0
    pool.join()


def test_threads_outlive_the_thread_that_wakes_them_and_end_with_the_program():
    # A program that neither stops its worker nor waits: running tasks end first.
    program = """
import threading
from collections import deque
from celerant.worker.pool import Pool

jobs, entered, told = deque([1, 2]), threading.Event(), threading.Event()

class Told(Pool):
    def dismiss(self):
        super().dismiss()
        told.set()

def execute(job):
    entered.set()
    if job == 1:
        # The interpreter ends: nothing new begins for the pool.
        told.wait()
        pool.wake(1)
    print("ended", job, flush=True)

pool = Told(2, lambda: jobs.popleft() if jobs else None, execute,
            waiting=lambda: bool(jobs), name="test")
waking = threading.Thread(target=pool.wake, args=(1,), daemon=True)
waking.start()
waking.join()
assert entered.wait(10)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert ended.stderr == ""
    assert ended.stdout.split("\n")[:-1] == ["ended 1", "ended 2"]


def test_program_does_not_wait_for_a_pool_that_was_abandoned():
    program = """
import threading
from collections import deque
from celerant.worker.pool import Pool

jobs, entered = deque([1]), threading.Event()

def execute(job):
    entered.set()
    threading.Event().wait()

pool = Pool(1, lambda: jobs.popleft() if jobs else None, execute,
            waiting=lambda: bool(jobs), name="test")
pool.wake(1)
assert entered.wait(10)
pool.abandon()
"""
    subprocess.run([sys.executable, "-c", program], timeout=20, check=True)


def test_a_pool_that_was_told_to_end_is_not_waited_for_in_vain():
    jobs, ended = deque([1]), []
    pool = make(2, ended.append, jobs)
    pool.wake(1)
    pool.join()
    # No thread is left to take a token, and none is begun.
    jobs.append(2)
    pool.wake(1)
    pool.join()
    assert (ended, pool.busy) == ([1], 0)


def test_all_threads_end_also_one_begun_while_the_others_were_told_to():
    jobs, puts = deque([1]), [2, 3]

    def waiting():
        # Another thread puts, and the interpreter ends, between two looks of a slot.
        if puts:
            jobs.extend(puts)
            puts.clear()
            pool.wake(1)
            pool.dismiss()
            return True
        return bool(jobs)

    pool = Pool(
        2,
        lambda: jobs.popleft() if jobs else None,
        lambda _job: None,
        waiting=waiting,
        name="test",
    )
    pool.wake(1)
    until(lambda: not puts and not any(one.is_alive() for one in pool._threads))
    assert not jobs


def test_a_thread_whose_start_ctrl_c_came_upon_ends_with_the_others(monkeypatch):
    started = []
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        started.append(thread)
        monkeypatch.undo()
        raise KeyboardInterrupt

    pool = make(2, lambda _job: None, deque([1, 2]))
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.wake(1)
    pool.wake(2)
    pool.join()
    started[0].join(10)
    assert not started[0].is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_ends_although_a_pools_lock_was_held():
    program = """
import multiprocessing
from celerant.worker.pool import Pool

pool = Pool(1, lambda: None, lambda job: None, waiting=lambda: False, name="test")
child = multiprocessing.get_context("fork").Process(target=lambda: None)
with pool._lock:
    child.start()
child.join(10)
alive = child.is_alive()
child.kill()
assert not alive
"""
    subprocess.run([sys.executable, "-c", program], timeout=30, check=True)


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
)
def test_a_slot_survives_base_exceptions(kind):
    jobs, ended = deque([1, 2, 3]), []

    def execute(job):
        if job == 1:
            raise kind("out")
        ended.append(job)

    pool = make(1, execute, jobs)
    pool.wake(1)
    pool.join()
    assert (ended, pool.busy) == ([2, 3], 0)


def test_a_thread_that_is_ended_from_outside_is_replaced(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    jobs, ended, done = deque([1]), [], threading.Event()

    def execute(job):
        ended.append((job, threading.current_thread().name))
        done.set()

    pool = make(1, execute, jobs)
    pool.wake(1)
    assert done.wait(10)
    done.clear()
    until(lambda: not pool.busy)
    (thread,) = pool._threads
    # It comes with the thread's next step: when it is woken.
    raising = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert raising(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)) == 1
    jobs.append(2)
    pool.wake(1)
    assert done.wait(10)
    pool.join()
    assert [job for job, _ in ended] == [1, 2]
    assert ended[0][1] != ended[1][1]
    thread.join(10)
    assert pool.busy == 0
