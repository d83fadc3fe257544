"""SIGTERM to child processes: the parent's ends them, and a supervisor's does not."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import uuid
from types import SimpleNamespace

import pytest

from celerant import TaskRevoked
from celerant.worker import process
from harness.until import until

pytestmark = pytest.mark.timeout(60)

MODULE = """
    import hashlib, os, signal, subprocess, threading
    from pathlib import Path
    from celerant import Celerant
    app = Celerant({name!r}, task_default_queue={name!r})
    folder = Path({folder!r})

    def begin():
        (folder / "begun").write_text(str(os.getpid()))

    def hold():
        while not (folder / "go").exists():
            threading.Event().wait(0.005)

    @app.task
    def pid():
        return os.getpid()

    @app.task
    def wait():
        begin()
        hold()
        return "to the end"

    @app.task
    def keep_interpreter():
        begin()
        return sum(range(3 * 10**9))

    @app.task
    def stay_in_c():
        begin()
        return hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)

    class EndError(Exception):
        pass

    @app.task
    def clean_up():
        def end(*_):
            raise EndError
        before = signal.signal(signal.SIGTERM, end)
        try:
            begin()
            threading.Event().wait(30)
        except EndError:
            hold()
            return "cleaned"
        finally:
            signal.signal(signal.SIGTERM, before)

    @app.task
    def end_others():
        reader, writer = os.pipe()
        forked = os.fork()
        if not forked:
            os.write(writer, b".")
            threading.Event().wait(30)
            os._exit(0)
        os.read(reader, 1)
        os.kill(forked, signal.SIGTERM)
        _, status = os.waitpid(forked, 0)
        started = subprocess.Popen(["sleep", "30"])
        started.terminate()
        return [-os.WTERMSIG(status), started.wait()]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An app whose tasks a child can import, and its running worker with one child."""
    name = f"celerant_{uuid.uuid4().hex[:8]}"
    code = MODULE.format(name=name, folder=str(tmp_path))
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(name)
    module, begun = sys.modules[name], tmp_path / "begun"

    def runs_in():
        return int(until(lambda: begun.exists() and begun.read_text()))

    with module.app as app, app.worker(1, "processes"):
        yield SimpleNamespace(
            tasks=module, runs_in=runs_in, let_go=(tmp_path / "go").touch
        )
        # If a test has failed, the worker may wait for it.
        (tmp_path / "go").touch()


def test_children_outlive_a_signal_that_is_not_the_parents(place):
    idle = place.tasks.pid.delay().get(timeout=20)
    os.kill(idle, signal.SIGTERM)
    running = place.tasks.wait.delay()
    assert place.runs_in() == idle
    os.kill(idle, signal.SIGTERM)
    place.let_go()
    assert running.get(timeout=20) == "to the end"
    assert place.tasks.pid.delay().get(timeout=20) == idle


@pytest.mark.parametrize("name", ["wait", "keep_interpreter", "stay_in_c"])
def test_task_is_terminated_wherever_it_stays(place, name):
    result = getattr(place.tasks, name).delay()
    pid = place.runs_in()
    # One that is not the parent's changes nothing.
    os.kill(pid, signal.SIGTERM)
    result.revoke(terminate=True)
    error = result.get(timeout=20, propagate=False)
    assert isinstance(error, TaskRevoked)
    assert place.tasks.pid.delay().get(timeout=20) != pid


def test_task_with_a_handler_of_its_own_ends_itself(place, monkeypatch):
    insisted, insist = [], process._insist
    monkeypatch.setattr(
        process, "_insist", lambda *child: insisted.append(insist(*child))
    )
    result = place.tasks.clean_up.delay()
    place.runs_in()
    result.revoke(terminate=True)
    until(lambda: insisted)
    place.let_go()
    assert result.get(timeout=20) == "cleaned"


def test_processes_that_a_task_starts_end_by_the_signal(place):
    ended = place.tasks.end_others.delay().get(timeout=20)
    assert ended == [-signal.SIGTERM, -signal.SIGTERM]
