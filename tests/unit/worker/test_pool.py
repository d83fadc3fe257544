from __future__ import annotations

import threading
from collections import deque

import pytest

from celerant.worker.pool import Pool


def make(size, execute, jobs):
    def take():
        try:
            return jobs.popleft()
        except IndexError:
            return None

    return Pool(size, take, execute, waiting=lambda: bool(jobs), name="test")


def test_everything_added_runs_whoever_was_busy_when_it_came():
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


def test_a_slot_survives_what_execute_raises(caplog):
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
def test_wake_for_nothing_starts_nothing(waiting):
    pool = make(1, lambda _job: None, deque([1]))
    pool.wake(waiting)
    assert pool.busy == 0
    pool.join()
