from __future__ import annotations

import logging
import os
import threading
from datetime import datetime, timedelta, timezone
from queue import SimpleQueue

import pytest

from celerant.errors import SettingError
from celerant.worker import Worker, memory_source
from harness.inside import memory_changes


def from_now(seconds):
    moment = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return moment.isoformat()


def refused(caplog):
    return [r for r in caplog.records if "refused" in r.getMessage()]


def test_tasks_run_and_their_values_are_stored(app):
    app.task("add", lambda x, y: x + y)
    with Worker(app):
        ids = [app.send("add", i, y=i) for i in range(50)]
        assert [app.backend.last(i) for i in ids] == [
            ("SUCCESS", 2 * i) for i in range(50)
        ]


def test_messages_sent_before_the_start_run_too(app):
    app.task("add", lambda x, y: x + y)
    first = app.send("add", 1, 2)
    with Worker(app):
        assert app.backend.last(first) == ("SUCCESS", 3)


def test_failure_is_stored_with_its_traceback(app):
    def burst():
        raise KeyError("k")

    app.task("burst", burst)
    with Worker(app):
        task_id = app.send("burst")
        state, exception = app.backend.last(task_id)
        assert (state, type(exception), exception.args) == ("FAILURE", KeyError, ("k",))
        assert "in burst" in app.backend.stored[task_id][-1][2]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_task_that_wants_to_exit_fails_and_the_worker_goes_on(app, kind):
    def leave():
        raise kind("bye")

    app.task("leave", leave)
    app.task("add", lambda x, y: x + y)
    with Worker(app, concurrency=1):
        assert app.backend.last(app.send("leave"))[0] == "FAILURE"
        assert app.backend.last(app.send("add", 1, 1)) == ("SUCCESS", 2)


def test_value_that_cannot_be_stored_is_a_failure(app):
    app.task("odd", lambda: {1, 2})
    with Worker(app):
        state, exception = app.backend.last(app.send("odd"))
    assert state == "FAILURE"
    assert type(exception).__qualname__ == "EncodeError"
    assert "set" in str(exception)


def test_unknown_task_fails_with_one_log_line(app, caplog):
    with Worker(app):
        task_id = app.send("never.heard", 1)
        state, exception = app.backend.last(task_id)
    assert state == "FAILURE"
    assert type(exception).__qualname__ == "NotRegistered"
    (line,) = refused(caplog)
    assert line.levelno == logging.ERROR
    assert task_id in line.getMessage()
    assert "\n" not in line.getMessage()
    assert app.left() == 0


def test_broken_messages_are_refused_once_and_the_next_one_runs(app, caplog):
    app.task("add", lambda x, y: x + y)
    with Worker(app, concurrency=1):
        broken = app.send("add", body="[[1, 2], {")
        wrong = app.send("add", 1, 1, headers={"retries": "x"})
        anonymous = app.send("add", 1, 1, headers={"id": None})
        good = app.send("add", 1, 1)
        assert app.backend.last(good) == ("SUCCESS", 2)
    assert app.backend.last(broken)[0] == "FAILURE"
    assert app.backend.last(wrong)[0] == "FAILURE"
    assert anonymous not in app.backend.stored
    assert len(refused(caplog)) == 3
    assert app.left() == 0


def test_ignored_results_are_not_stored_but_errors_are_if_wanted(app):
    ended = threading.Event()

    def burst():
        raise ValueError("kept")

    app.task("quiet", lambda: None, ignore_result=True)
    app.task("burst", burst, ignore_result=True)
    app.task("kept", burst, ignore_result=True, store_errors_even_if_ignored=True)
    app.task("last", ended.set)
    with Worker(app, concurrency=1):
        quiet, silent = app.send("quiet"), app.send("burst")
        kept = app.send("kept")
        app.send("last")
        assert ended.wait(10)
    assert quiet not in app.backend.stored
    assert silent not in app.backend.stored
    assert app.backend.last(kept)[0] == "FAILURE"


def test_started_is_stored_if_tracked(app):
    app.task("add", lambda x, y: x + y, track_started=True)
    with Worker(app, hostname="w@here"):
        task_id = app.send("add", 1, 2)
        app.backend.last(task_id)
    started, ended = app.backend.stored[task_id]
    assert started[:2] == ("STARTED", {"pid": os.getpid(), "hostname": "w@here"})
    assert ended[0] == "SUCCESS"


def test_expired_task_is_revoked_and_does_not_run(app):
    ran = []
    app.task("note", ran.append)
    with Worker(app):
        late = app.send("note", 1, headers={"expires": from_now(-1)})
        good = app.send("note", 2, headers={"expires": from_now(60)})
        state, exception = app.backend.last(late)
        app.backend.last(good)
    assert state == "REVOKED"
    assert type(exception).__qualname__ == "TaskRevokedError"
    assert exception.args == ("expired",)
    assert ran == [2]


def test_eta_is_kept_without_a_slot(app):
    order = []
    app.task("note", order.append)
    with Worker(app, concurrency=1):
        later = app.send("note", "later", headers={"eta": from_now(0.3)})
        now = app.send("note", "now")
        app.backend.last(now)
        assert order == ["now"]
        app.backend.last(later)
    assert order == ["now", "later"]


def test_stop_gives_back_tasks_that_wait_for_their_time(app):
    app.task("add", lambda x, y: x + y)
    with Worker(app):
        app.send("add", 1, 1, headers={"eta": from_now(3600)})
        app.backend.last(app.send("add", 1, 1))
    assert app.left() == 1


def test_stop_finishes_running_tasks_and_leaves_the_rest(app):
    entered, gate = threading.Event(), threading.Event()

    def wait():
        entered.set()
        return gate.wait(10)

    app.task("wait", wait)
    app.task("add", lambda x, y: x + y)
    worker = Worker(app, concurrency=1)
    worker.start()
    running = app.send("wait")
    assert entered.wait(10)
    rest = [app.send("add", i, i) for i in range(5)]
    worker._slots.close()
    gate.set()
    worker.stop()
    assert app.backend.last(running) == ("SUCCESS", True)
    assert app.left() == 5
    with Worker(app):
        assert [app.backend.last(i) for i in rest] == [
            ("SUCCESS", 2 * i) for i in range(5)
        ]


def test_a_worker_can_start_again_but_not_twice(app):
    worker = Worker(app)
    worker.start()
    with pytest.raises(RuntimeError, match="runs already"):
        worker.start()
    worker.stop()
    worker.stop()
    app.task("add", lambda x, y: x + y)
    with worker:
        assert worker.is_running
        app.backend.last(app.send("add", 1, 1))
    assert not worker.is_running


def test_several_workers_share_a_queue(app):
    both = threading.Barrier(2)
    app.task("meet", lambda: both.wait(10) >= 0)
    with Worker(app, concurrency=1), Worker(app, concurrency=1):
        ids = [app.send("meet"), app.send("meet")]
        assert [app.backend.last(i)[0] for i in ids] == ["SUCCESS", "SUCCESS"]


def test_only_the_wanted_queues_are_consumed(app):
    app.task("add", lambda x, y: x + y)
    other = f"{app.queue}-other"
    with Worker(app, queues=[other]):
        app.send("add", 1, 1)
        task_id = app.send("add", 2, 2, queue=other)
        assert app.backend.last(task_id) == ("SUCCESS", 4)
    assert app.left() == 1


def test_a_put_starts_a_task_without_a_poll(app):
    # kombu's own loop looks once a second; a hundred in a row would take minutes.
    app.task("add", lambda x, y: x + y)
    with Worker(app):
        for i in range(100):
            assert app.backend.last(app.send("add", i, 0), timeout=5) == ("SUCCESS", i)


def test_an_idle_worker_hardly_turns(app, monkeypatch):
    monkeypatch.setattr(memory_source, "_LOOK_INTERVAL", 0.05)
    turns = SimpleQueue()
    with Worker(app) as worker:
        changes = memory_changes(worker)
        wait = changes.wait
        changes.wait = lambda s: turns.put((s, wait(s)))
        # Between looks it sleeps for the whole interval, and nothing cuts it short.
        assert [turns.get(timeout=10) for _ in range(3)] == [(0.05, False)] * 3


@pytest.mark.parametrize("kind", ["application/x-gzip", "application/x-unheard"])
def test_a_body_that_cannot_be_decompressed_fails_its_task(app, kind, caplog):
    app.task("add", lambda x, y: x + y)
    with Worker(app) as worker:
        sent = app.send("add", body=b"not compressed", headers={"compression": kind})
        state, failure = app.backend.last(sent)
        assert app.backend.last(app.send("add", 1, 2)) == ("SUCCESS", 3)
        assert worker.is_running
    assert state == "FAILURE"
    assert "its body (application/json) cannot be read" in str(failure)
    assert caplog.text.count(" refused: ") == 1


def test_a_backend_that_is_away_gets_the_result_later(app):
    app.task("add", lambda x, y: x + y)
    app.backend.failing = [ConnectionError("away"), ConnectionError("away")]
    with Worker(app):
        assert app.backend.last(app.send("add", 1, 2)) == ("SUCCESS", 3)


def test_late_ack_of_a_rejected_failure_leaves_nothing(app):
    def burst():
        raise ValueError

    app.task("burst", burst, acks_late=True, acks_on_failure_or_timeout=False)
    with Worker(app):
        assert app.backend.last(app.send("burst"))[0] == "FAILURE"
    assert app.left() == 0


@pytest.mark.parametrize(
    "options", [{"concurrency": 0}, {"concurrency": -1}, {"pool": "x"}]
)
def test_impossible_options_are_refused(app, options):
    with pytest.raises(SettingError, match=next(iter(options))):
        Worker(app, **options)
