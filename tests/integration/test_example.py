"""The main job, `examples/index_code.py`, as a user starts it."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# A package of the standard library: real files, but few.
FOLDER = Path(json.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))


def _run(*arguments):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "index_code.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


def _count(output, what):
    (line,) = (line for line in output.splitlines() if f"│ {what} " in line)
    return int(line.split("│")[2].replace(",", ""))


def _check(done):
    assert done.returncode == 0, done.stderr
    assert _count(done.stdout, "files") == len(FILES)
    lines = sum(len(f.read_text().splitlines()) for f in FILES)
    assert _count(done.stdout, "lines") == lines
    assert "files/s" in done.stdout
    assert done.stderr == ""


@pytest.mark.timeout(150)
def test_the_example_runs_on_the_embedded_worker_with_processes():
    done = _run("--folder", str(FOLDER))

    _check(done)
    assert "celery -A index_code:celery_app worker" in done.stdout


@pytest.mark.timeout(200)
def test_the_example_runs_on_redis_with_celerys_worker(redis_url, celery_worker):
    broker, backend = redis_url["broker"], redis_url["backend"]
    path = os.pathsep.join([str(EXAMPLES), *sys.path])
    celery_worker(
        broker=broker,
        backend=backend,
        queue="index_code",
        module="index_code:celery_app",
        environment={
            "CELERANT_BROKER": broker,
            "CELERANT_BACKEND": backend,
            "PYTHONPATH": path,
        },
    )

    _check(_run("--folder", str(FOLDER), "--broker", broker, "--backend", backend))


@pytest.fixture
def module(monkeypatch):
    """The example as a module."""
    spec = importlib.util.spec_from_file_location(
        "index_code", EXAMPLES / "index_code.py"
    )
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "index_code", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(60)
def test_the_example_without_a_worker_gives_up_and_says_how_to_start_one(redis_server):
    broker = redis_server().url()
    done = _run("--folder", str(FOLDER), "--broker", broker, "--patience", "0.5")

    assert done.returncode == 1
    told, command = done.stderr.splitlines()
    assert f"0 of {len(FILES)} files are done" in told
    assert "nothing got done for 0.5 s; is a worker running?" in told
    assert command.endswith("celery -A index_code:celery_app worker")


def test_patience_begins_anew_with_every_file_that_is_done(module, monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda _: now.append(now.pop() + 4)
    )
    monkeypatch.setattr(module, "time", clock)

    def watch(done_at):
        now[0] = 0.0
        result = SimpleNamespace(
            ready=lambda: now[0] >= done_at[-1],
            completed_count=lambda: sum(at <= now[0] for at in done_at),
        )
        return module.watch(result, len(done_at), patience=10)

    assert watch([8, 16, 24, 32])
    assert not watch([8, 16, 32])
    assert now[0] == 28


@pytest.mark.timeout(60)
def test_a_missing_result_is_told_by_the_exit_code(module, monkeypatch, capsys):
    files = [str(FILES[0]), "/nowhere/gone.py"]
    monkeypatch.setattr(module, "python_files", lambda _folder: files)
    worker = functools.partial(module.app.worker, concurrency=2, pool="threads")
    monkeypatch.setattr(module.app, "worker", lambda **_: worker())

    assert module.main([]) == 1
    assert "/nowhere/gone.py" in capsys.readouterr().err


def test_a_folder_without_python_is_an_error(tmp_path):
    done = _run("--folder", str(tmp_path))
    assert done.returncode == 2
    assert "no .py file" in done.stderr
