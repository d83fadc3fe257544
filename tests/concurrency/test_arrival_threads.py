"""A member's value and its arrival are one operation, whichever threads bring it."""

from __future__ import annotations

import pickle
import sys
import threading

import pytest

from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from harness.racing import run

ROUNDS = 400


@pytest.fixture(autouse=True)
def _threads_take_turns_all_the_time():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def backend():
    # A serializer that the core leaves to kombu.
    backend = open_backend(
        "memory://", name="arrivals", serializer="pickle", accept=["pickle"]
    )
    yield backend
    backend.close()


def failure(number):
    return pickle.dumps(
        {"status": "FAILURE", "result": KeyError(number), "traceback": None}
    )


def test_threads_get_the_same_exception_while_records_still_come(backend):
    for number in range(ROUNDS):
        result = AsyncResult(f"task-{number}", backend)
        members, record, seen = result.members, failure(number), []

        def bring(members=members, record=record):
            members.absorb([0], [record])

        def ask(members=members, seen=seen):
            while not members.is_done(0):
                pass
            seen.extend(members.exception(0) for _ in range(20))

        run([bring, bring, ask, ask])
        seen.append(members.exception(0))
        assert len({id(exc) for exc in seen}) == 1, number


def test_waiting_threads_and_the_consumer_bring_each_member_once(backend):
    for number in range(ROUNDS // 4):
        result = AsyncResult(f"both-{number}", backend)
        calls, called = [], threading.Event()

        def note(_, calls=calls, called=called):
            calls.append(threading.current_thread().name)
            called.set()

        def wait(result=result, number=number):
            assert result.get(timeout=20) == number

        def store(result=result, number=number):
            backend.store_result(result.id, number, "SUCCESS")

        run([wait, wait, store, lambda result=result, note=note: result.then(note)])
        assert called.wait(20)
        assert len(calls) == 1
