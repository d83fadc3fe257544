"""A result backend that is away holds up a stop no longer than it must."""

from __future__ import annotations

import logging
import threading

import pytest

from celerant.context.request import Request
from celerant.running.storing import Storing
from celerant.worker import Worker
from harness import hostile


class Away:
    """Refuses `times` times (None: always) and tells of each attempt."""

    def __init__(self, times=None):
        self.times = times
        self.attempts = []
        self.asked = threading.Semaphore(0)
        self.stored = {}

    def encode_result(self, _id, result, *_, **__):
        return result

    def is_away(self, exc):
        return isinstance(exc, ConnectionError)

    def store_encoded(self, task_id, result, state, **_):
        self.attempts.append((task_id, state))
        self.asked.release()
        if self.times is None or len(self.attempts) <= self.times:
            raise ConnectionError("away")
        self.stored[task_id] = (state, result)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("celerant.running.storing._PAUSE_FIRST", 0.001)


def test_a_running_worker_tries_again():
    backend = Away(times=3)
    assert Storing(backend)(Request("a", "t"), 1, "SUCCESS") is None
    assert backend.stored == {"a": ("SUCCESS", 1)}
    assert len(backend.attempts) == 4


def test_a_running_worker_gives_up_in_the_end(monkeypatch, caplog):
    monkeypatch.setattr("celerant.running.storing._PATIENCE", 0.05)
    storing = Storing(Away())
    storing(Request("a", "t"), 1, "SUCCESS")
    assert "state SUCCESS of task t[a] is lost" in caplog.text
    storing.report()
    assert "1 states were not stored" in caplog.text
    caplog.clear()
    storing.report()
    assert not caplog.text


def test_an_error_that_is_not_of_the_connection_is_not_waited_for(caplog):
    backend = Away()
    backend.is_away = lambda _exc: False
    storing = Storing(backend)
    assert storing(Request("a", "t"), 1, "SUCCESS") is None
    assert len(backend.attempts) == 1
    assert "refuses it (ConnectionError: away)" in caplog.text


@pytest.mark.parametrize("kind", [OSError, ConnectionError, SystemExit, RuntimeError])
def test_an_error_of_the_result_s_own_code_asks_no_backend(kind):
    backend = Away()

    def encode(*_args, **_options):
        raise kind("mine")

    backend.encode_result = encode
    problem = Storing(backend)(Request("a", "t"), 1, "SUCCESS")
    assert "cannot be stored (mine)" in str(problem)
    assert backend.attempts == []


def test_a_failure_that_cannot_be_stored_is_stored_by_its_name():
    backend = Away(times=0)

    def encode(_id, result, *_args, **_options):
        if type(result) is hostile.Declined:
            raise SystemExit
        return result

    backend.encode_result = encode
    Storing(backend)(Request("a", "t"), hostile.Declined(5), "FAILURE")
    ((state, stored),) = backend.stored.values()
    assert (state, stored.args) == ("FAILURE", ("5",))
    assert type(stored).__qualname__ == "Declined"


def test_a_stopping_store_makes_one_attempt():
    backend = Away()
    storing = Storing(backend)
    storing.stop()
    storing(Request("a", "t"), 1, "SUCCESS")
    assert len(backend.attempts) == 1


def test_a_stop_ends_the_waiting_after_a_last_attempt(monkeypatch):
    monkeypatch.setattr("celerant.running.storing._PAUSE_FIRST", 50.0)
    backend = Away()
    storing = Storing(backend)
    request = Request("a", "t")
    thread = threading.Thread(target=storing, args=(request, 1, "SUCCESS"))
    thread.start()
    assert backend.asked.acquire(timeout=10)
    storing.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert len(backend.attempts) == 2


def test_storing_a_started_state_is_not_retried():
    backend = Away()
    Storing(backend)(Request("a", "t"), {}, "STARTED")
    assert backend.attempts == [("a", "STARTED")]


def test_a_refused_message_holds_up_no_stop(caplog):
    backend = Away()
    storing = Storing(backend)
    storing.stop()
    for number in range(20):
        storing.at_once(Request(f"id-{number}", "t"), ValueError(), "FAILURE")
    assert len(backend.attempts) == 1
    storing.report()
    assert "20 states were not stored" in caplog.text
    assert "id-9 and 10 more" in caplog.text


def test_a_worker_stops_and_names_lost_results(app, monkeypatch, caplog):
    monkeypatch.setattr("celerant.running.storing._PAUSE_FIRST", 50.0)
    app.backend = Away()
    app.task("add", lambda x, y: x + y)
    with Worker(app, concurrency=2):
        ids = [app.send("add", 1, 2) for _ in range(2)]
        for _ in ids:
            assert app.backend.asked.acquire(timeout=10)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    (summary,) = [line for line in lines if "were not stored" in line]
    assert all(task_id in summary for task_id in ids)
