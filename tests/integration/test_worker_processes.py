"""Child processes of a worker on Redis: states that they store, lines that they log."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import uuid

import pytest
import redis

from celerant import Celerant
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.until import until

BROKER, RESULTS = services.redis_url(7), services.redis_url(8)
pytestmark = pytest.mark.timeout(90)

MODULE = """
    import logging, logging.config, os
    from celerant import Celerant
    {logging}
    app = Celerant({name!r}, broker={broker!r}, backend={results!r},
                   task_default_queue={name!r}, result_expires=600)
    log = logging.getLogger("shop.tasks")

    @app.task
    def quick():
        return os.getpid()

    @app.task(bind=True, track_started=True)
    def steps(self):
        self.update_state(state="PROGRESS", meta={{"at": 1}})
        return os.getpid()

    @app.task(track_started=True, ignore_result=True)
    def unseen():
        pass

    @app.task
    def say(text):
        log.debug("debug: %s", text)
        log.info("info: %s", text)
        log.warning("warning: %s", text)
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes a module of tasks, with lines of its own."""
    services.require_redis()
    made = []

    def module(logging=""):
        name = f"celerant_{uuid.uuid4().hex[:8]}"
        code = textwrap.dedent(MODULE).format(
            name=name, broker=BROKER, results=RESULTS, logging=logging
        )
        (tmp_path / f"{name}.py").write_text(code)
        if not logging:
            monkeypatch.syspath_prepend(str(tmp_path))
            __import__(name)
            made.append(sys.modules[name])
            return made[-1]
        return name

    yield module
    for one in made:
        one.app.close()


def stored(listener, ids):
    """Return the records that Redis gets for these tasks until each has ended."""
    records = {one: [] for one in ids}
    for message in listener.listen():
        if message["type"] == "message":
            record = json.loads(message["data"])
            records[record["task_id"]].append(record)
        if all(kept and kept[-1]["status"] == "SUCCESS" for kept in records.values()):
            return list(records.values())
    return None


def test_started_comes_before_the_states_that_a_task_stores(make):
    tasks = make()
    ids = [uuid.uuid4().hex for _ in range(8)]
    with redis.Redis.from_url(RESULTS, socket_timeout=60) as store, store.pubsub() as p:
        p.subscribe(*(f"celery-task-meta-{one}" for one in ids))
        # Before the worker is there, so that its child gets them together.
        for one in ids:
            tasks.quick.delay()
            tasks.steps.apply_async(task_id=one)
        with tasks.app.worker(1, "processes", hostname="w@here"):
            records = stored(p, ids)
    states = [[record["status"] for record in kept] for kept in records]
    assert states == [["STARTED", "PROGRESS", "SUCCESS"]] * len(ids)
    for kept in records:
        child = kept[-1]["result"]
        assert kept[0]["result"] == {"pid": child, "hostname": "w@here"}
        assert child != os.getpid()


def test_task_that_ignores_its_result_stores_no_start(make):
    tasks = make()
    with tasks.app.worker(1, "processes"):
        result = tasks.unseen.delay()
        for _ in range(2):
            tasks.quick.delay().get(timeout=20)
    assert tasks.app.AsyncResult(result.id).state == "PENDING"


@pytest.fixture
def lines_of(make, tmp_path):
    """Return a function that runs `say` in a worker and returns the worker's lines."""

    def run(*options, logging=""):
        name = make(logging or "pass")
        worker = CelerantWorker(
            folder=tmp_path,
            module=f"{name}:app",
            hostname="w@here",
            concurrency=1,
            options=options,
        )
        twin = Celerant(name, broker=BROKER, backend=RESULTS, task_default_queue=name)
        with twin, worker:
            twin.send_task(f"{name}.say", ("one",)).get(timeout=30)
            until(lambda: any("warning: one" in line for line in worker.log))
        return [line for line in worker.log if ": one" in line]

    return run


def test_children_log_as_the_command_line_says(lines_of):
    first, second = lines_of("-l", "info")
    assert first.endswith(" INFO shop.tasks: info: one\n")
    assert second.endswith(" WARNING shop.tasks: warning: one\n")


def test_module_that_configures_logging_has_the_last_word(lines_of):
    own = (
        "logging.config.dictConfig({'version': 1, 'root': {'level': 'INFO', "
        "'handlers': ['own']}, 'handlers': {'own': {'class': 'logging.StreamHandler', "
        "'formatter': 'own'}}, 'formatters': {'own': {'format': 'own %(message)s'}}, "
        "'disable_existing_loggers': False})"
    )
    assert lines_of("-l", "warning", logging=own) == [
        "own info: one\n",
        "own warning: one\n",
    ]
