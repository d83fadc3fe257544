from __future__ import annotations

import threading

import pytest

from celerant.context.request import Request
from celerant.worker import worker_state as module
from celerant.worker.worker_state import Revocations, WorkerState


def stamped(**stamps):
    return Request("id", "task", stamped_headers=list(stamps), stamps=stamps)


def test_revoked_ids_cover_their_requests():
    revoked = Revocations()
    revoked.add(["a", "b"])
    assert revoked.cover(Request("a", "task"))
    assert not revoked.cover(Request("c", "task"))
    assert revoked.ids() == ["a", "b"]


def test_the_oldest_ids_make_room(monkeypatch):
    monkeypatch.setattr(module, "_MOST_REVOKED", 3)
    revoked = Revocations()
    revoked.add(["a", "b", "c"])
    revoked.add(["a", "d"])
    assert revoked.ids() == ["c", "a", "d"]


def test_ids_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(module, "_REVOKED_FOR", -1.0)
    revoked = Revocations()
    revoked.add(["a"])
    assert revoked.ids() == []
    assert not revoked.cover(Request("a", "task"))


@pytest.mark.parametrize(
    ("stamps", "is_covered"),
    [
        ({"batch": "b1"}, True),
        ({"batch": ["b0", "b2"]}, True),
        ({"batch": "b3"}, False),
        ({"batch": None}, False),
        ({"batch": {"not": "hashable"}}, False),
        ({"other": "b1"}, False),
        ({}, False),
    ],
)
def test_revoked_stamps_cover_requests_that_bear_one(stamps, is_covered):
    revoked = Revocations()
    revoked.add_stamps({"batch": ["b1"]})
    revoked.add_stamps({"batch": ["b2"]})
    assert revoked.cover(stamped(**stamps)) is is_covered


def test_two_runs_of_one_task_are_two_entries():
    worker_state = WorkerState()
    first, again = Request("a", "task"), Request("a", "task")
    worker_state.begin(first)
    worker_state.begin(again)
    worker_state.end(first)
    assert [request for request, _ in worker_state.active()] == [again]
    assert worker_state.total() == {"task": 2}


def test_runs_of_many_threads_are_counted_exactly(short_switches):
    worker_state = WorkerState()

    def run(name):
        for _ in range(2000):
            request = Request("id", name)
            worker_state.begin(request)
            worker_state.end(request)

    threads = [threading.Thread(target=run, args=(name,)) for name in "aaaa"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker_state.total() == {"a": 8000}
    assert worker_state.active() == []
