from __future__ import annotations

import math
import threading
from types import SimpleNamespace

import pytest

from celerant.context.request import Request
from celerant.worker import Worker
from celerant.worker.message import Delivery
from celerant.worker.time_limits import TimeLimits


@pytest.mark.parametrize(
    ("own", "sent", "expected"),
    [
        ((None, None), (None, None), (None, None)),
        ((9, 5), (None, None), (9, 5)),
        ((9, 5), (3, None), (3, 5)),
        ((None, None), (0, 2.5), (None, 2.5)),
        ((0, 0), (None, None), (None, None)),
    ],
)
def test_the_message_goes_before_the_task(own, sent, expected):
    task = SimpleNamespace(name="t", time_limit=own[0], soft_time_limit=own[1])
    delivery = Delivery(None, Request("id", "t", timelimit=sent), task)
    assert TimeLimits().of(delivery) == expected


@pytest.mark.parametrize("limit", [math.inf, 1e300, 10**400])
def test_a_limit_that_nobody_lives_to_see_is_none(limit):
    task = SimpleNamespace(name="t", time_limit=limit, soft_time_limit=limit)
    delivery = Delivery(None, Request("id", "t", timelimit=(limit, 3)), task)
    assert TimeLimits().of(delivery) == (None, 3)


@pytest.mark.parametrize("limit", [math.nan, -1, "x"])
def test_a_limit_that_is_no_time_fails_the_task_that_says_so(app, limit):
    app.task("limited", lambda: 1, soft_time_limit=limit)
    app.task("free", lambda: 2)
    with Worker(app, concurrency=1):
        state, error = app.backend.last(app.send("limited"))
        assert state == "FAILURE"
        assert "a time limit must be a positive number of seconds" in str(error)
        assert app.backend.last(app.send("free")) == ("SUCCESS", 2)


def test_threads_say_once_that_they_keep_no_limits(app, caplog):
    app.task("limited", lambda x: x, time_limit=5)
    with Worker(app, concurrency=1):
        for i in range(3):
            assert app.backend.last(app.send("limited", i)) == ("SUCCESS", i)
    told = [r for r in caplog.records if "has a time limit" in r.getMessage()]
    assert len(told) == 1


def test_threads_cannot_be_terminated_but_waiting_tasks_are_revoked(app, caplog):
    entered, gate = threading.Event(), threading.Event()

    def wait():
        entered.set()
        return gate.wait(20)

    app.task("wait", wait)
    with Worker(app, concurrency=1) as worker:
        running = app.send("wait")
        assert entered.wait(20)
        waiting = app.send("wait")
        answer = worker.panel.handle(
            "revoke", {"task_id": [running, waiting], "terminate": True}
        )
        assert answer == {"ok": "terminate: tasks unknown"}
        gate.set()
        assert app.backend.last(running) == ("SUCCESS", True)
        state, error = app.backend.last(waiting)
    assert (state, error.args) == ("REVOKED", ("revoked",))
    assert "threads cannot be" in caplog.text


def test_an_unknown_signal_is_told(app):
    with Worker(app, concurrency=1) as worker:
        answer = worker.panel.handle(
            "revoke", {"task_id": "x", "terminate": True, "signal": "NOPE"}
        )
    assert "SIGNOPE" in answer["error"]
