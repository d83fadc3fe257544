"""Flower sees the members of a volley as it sees any task."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

import pytest
from celery import group

import celerant.celery
from harness.celery_worker import CeleryWorker
from harness.logged_process import LoggedProcess
from harness.redis_server import free_port
from harness.until import until
from swapin.conftest import RESULTS

pytest.importorskip("flower")
pytestmark = pytest.mark.timeout(120)
TESTS = Path(__file__).parents[1]


def test_flower_shows_members_of_volleys(make_app, volleys):
    side = make_app("redis", RESULTS)
    events = f"{side.queue}.ev"
    side.app.conf.event_exchange = events
    settings = {"task_default_queue": side.queue, "event_exchange": events}
    worker = CeleryWorker(
        broker=side.url,
        backend=RESULTS,
        queue=side.queue,
        pool="prefork",
        settings=settings,
        more=["-E"],
    )
    port = free_port()
    flower = LoggedProcess(
        [
            *(sys.executable, "-m", "celery", "-A", "harness.stock_worker:app"),
            *("flower", "--address=127.0.0.1", f"--port={port}"),
        ],
        is_ready=lambda line: "Connected to" in line,
        folder=TESTS,
        environment={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)]),
            "FLOWER_UNAUTHENTICATED_API": "true",
            "CELERANT_TEST_BROKER": side.url,
            "CELERANT_TEST_BACKEND": RESULTS,
            "CELERANT_TEST_SETTINGS": json.dumps(settings),
        },
    )

    def shown():
        url = f"http://127.0.0.1:{port}/api/tasks?limit=1000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    celerant.celery.install()
    members = [side.add.s(i, i) for i in range(4)]

    def heard():
        result = group(members)()
        assert result.get(timeout=30) == [0, 2, 4, 6]
        tasks, ids = shown(), [one.id for one in result]
        found = [tasks.get(task_id, {}) for task_id in ids]
        are_whole = [one.get("state") == "SUCCESS" and one["name"] for one in found]
        return (tasks, ids) if all(are_whole) else None

    with worker, flower:
        # Flower hears events from some moment after its start, which may be in the
        # middle of a task's: so again until it has heard all of them.
        tasks, ids = until(heard, 60)
    assert set(volleys) == {4}
    for n, task_id in enumerate(ids):
        assert tasks[task_id]["name"] == side.add.name
        assert tasks[task_id]["args"] == f"({n}, {n})"
        assert tasks[task_id]["result"] == str(n + n)
        assert tasks[task_id]["root_id"] == task_id
