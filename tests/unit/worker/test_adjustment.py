"""Remote control of a worker on memory://: its pool, its queues, its limits."""

from __future__ import annotations

import sys
import textwrap
import threading
import uuid

import pytest

from celerant import Celerant

HOST = "here@test"


@pytest.fixture
def app():
    with Celerant(f"celerant-{uuid.uuid4().hex[:8]}") as made:
        yield made


def ask(app, command, **arguments):
    (answer,) = app.control.broadcast(command, arguments, reply=True)
    return answer[HOST]


def test_a_queue_comes_and_goes(app):
    more = f"{app.name}-more"

    @app.task(name="echo")
    def echo(x):
        return x

    with app.worker(concurrency=1, hostname=HOST):
        waits = echo.apply_async((1,), queue=more)
        assert ask(app, "add_consumer", queue=more) == {"ok": f"add consumer {more}"}
        assert waits.get(timeout=20) == 1
        # Twice is once.
        ask(app, "add_consumer", queue=more)
        names = [queue["name"] for queue in ask(app, "active_queues")]
        assert names == [app.name, more]
        told = ask(app, "cancel_consumer", queue=more)
        assert told == {"ok": f"no longer consuming from {more}"}
        stays = echo.apply_async((2,), queue=more)
        assert echo.delay(3).get(timeout=20) == 3
        assert not stays.ready()


def test_slots_come_and_go(app):
    inside, gate = threading.Semaphore(0), threading.Event()
    running, most, lock = 0, 0, threading.Lock()

    @app.task(name="wait")
    def wait():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        inside.release()
        assert gate.wait(20)
        with lock:
            running -= 1

    with app.worker(concurrency=1, hostname=HOST):
        results = [wait.delay() for _ in range(5)]
        assert inside.acquire(timeout=20)
        assert ask(app, "pool_grow", n=2) == {"ok": "pool will grow"}
        for _ in range(2):
            assert inside.acquire(timeout=20)
        assert ask(app, "stats")["pool"]["max-concurrency"] == 3
        gate.set()
        for result in results:
            result.get(timeout=20)
        assert most == 3
        assert ask(app, "pool_shrink", n=2) == {"ok": "pool will shrink"}
        most = 0
        for result in [wait.delay() for _ in range(20)]:
            result.get(timeout=20)
        assert most == 1
        told = ask(app, "pool_shrink", n=1)
        assert told == {"error": "ValueError('the pool has 1 slots and must keep one')"}


def test_slots_too_many_end_although_more_waits(app):
    inside, gate = threading.Semaphore(0), threading.Event()
    meeting, met = threading.Barrier(2), []

    @app.task(name="wait")
    def wait():
        inside.release()
        gate.wait(20)

    @app.task(name="meet")
    def meet():
        # Two at a time would meet here; the first waits for that in vain.
        try:
            meeting.wait(0.5)
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)

    with app.worker(concurrency=2, hostname=HOST):
        for _ in range(2):
            wait.delay()
            assert inside.acquire(timeout=20)
        results = [meet.delay() for _ in range(2)]
        ask(app, "pool_shrink", n=1)
        gate.set()
        for result in results:
            result.get(timeout=20)
    assert met == [False, False]


def test_commands_that_threads_cannot_obey_get_an_error(app):
    @app.task(name="echo")
    def echo(x):
        return x

    app.conf.worker_pool_restarts = True
    with app.worker(concurrency=1, hostname=HOST):
        for command, arguments in (
            ("pool_restart", {}),
            ("time_limit", {"task_name": "echo", "hard": 1}),
            ("rate_limit", {"task_name": "echo", "rate_limit": "1/s"}),
        ):
            assert set(ask(app, command, **arguments)) == {"error"}, command


def test_settings_are_told_without_secrets(app):
    app.conf.update(
        security_key_password="hidden",
        redis_password="hidden",
        broker_read_url="memory://user:hidden@here",
        broker_transport_options={"sentinel_kwargs": {"password": "hidden"}},
        worker_prefetch_multiplier=3,
    )
    with app.worker(concurrency=1, hostname=HOST):
        told = ask(app, "conf")
        assert told["worker_prefetch_multiplier"] == 3
        assert told["security_key_password"] == "*" * 8
        assert "task_acks_late" in ask(app, "conf", with_defaults=True)
        for command in ("conf", "report", "stats"):
            assert "hidden" not in str(ask(app, command)), command


PROCESSES = """
    from celerant import Celerant
    app = Celerant({name!r}, worker_pool_restarts=True)

    @app.task(name="pid")
    def pid():
        import os
        return os.getpid()
"""


@pytest.mark.timeout(60)
def test_processes_are_replaced(tmp_path, monkeypatch):
    module = f"celerant_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{module}.py").write_text(
        textwrap.dedent(PROCESSES.format(name=module))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(module)
    app = sys.modules[module].app
    with app, app.worker(1, "processes", hostname=HOST):
        pid = app.tasks["pid"]
        before = pid.delay().get(timeout=30)
        assert ask(app, "stats")["pool"]["processes"] == [before]
        assert ask(app, "pool_restart") == {"ok": "reload started"}
        after = pid.delay().get(timeout=30)
        assert after != before
        assert ask(app, "pool_grow", n=1) == {"ok": "pool will grow"}
        assert pid.delay().get(timeout=30)
        assert ask(app, "pool_shrink", n=1) == {"ok": "pool will shrink"}
        left = pid.delay().get(timeout=30)
        assert ask(app, "stats")["pool"]["processes"] == [left]
