"""Tasks that go to child processes several at a time: each ends as if it were alone."""

from __future__ import annotations

import signal
import sys
import textwrap
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from celerant import TaskRevoked, group
from celerant.worker import batch as batches
from harness.until import until

pytestmark = pytest.mark.timeout(60)

MODULE = """
    import os, threading
    from pathlib import Path
    from celerant import Celerant
    app = Celerant({name!r}, task_default_queue={name!r})
    folder = Path({folder!r})

    def note(index):
        with (folder / "runs").open("a") as file:
            file.write(f"{{index}} {{os.getpid()}}\\n")

    @app.task
    def quick(index):
        note(index)
        return index

    @app.task
    def hold(index):
        note(index)
        while not (folder / "go").exists():
            threading.Event().wait(0.005)
        return index

    @app.task(track_started=True)
    def tracked(index):
        return hold.run(index)

    @app.task(time_limit=0.5)
    def limited(index):
        return hold.run(index)

    @app.task
    def die(index):
        note(index)
        os._exit(1)

    @app.task
    def echo(text):
        return text

    @app.task
    def large(size):
        return "x" * size
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An app whose tasks child processes can import, and notes of what ran."""
    name = f"celerant_{uuid.uuid4().hex[:8]}"
    code = MODULE.format(name=name, folder=str(tmp_path))
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__(name)
    module = sys.modules[name]

    def lines():
        file = tmp_path / "runs"
        return [line.split() for line in file.read_text().splitlines()]

    def has_begun(index):
        return (tmp_path / "runs").exists() and str(index) in dict(lines())

    with module.app as app:
        yield SimpleNamespace(
            app=app,
            tasks=module,
            worker=lambda slots=1: app.worker(slots, "processes"),
            runs=lambda: Counter(int(index) for index, _ in lines()),
            pids=lambda: Counter(pid for _, pid in lines()),
            has_begun=has_begun,
            let_go=(tmp_path / "go").touch,
        )
        # If a test has failed, a worker may wait for it.
        (tmp_path / "go").touch()


@pytest.fixture
def patiently(monkeypatch):
    """Let no task be slow, so that what is behind it stays there."""
    monkeypatch.setattr(batches, "_SLOW", 3600.0)


def burst(*members):
    """Send members before a worker is there, so that one takes them together."""
    return group(members).apply_async()


def test_slow_task_holds_up_none_behind_it(place):
    tasks = place.tasks
    result = burst(tasks.hold.s(0), *map(tasks.quick.s, range(1, 40)))
    with place.worker(2):
        for index in range(1, 40):
            assert result[index].get(timeout=20) == index
        assert not result[0].ready()
        place.let_go()
        assert result.get(timeout=20) == list(range(40))
    assert place.runs() == dict.fromkeys(range(40), 1)


def test_results_before_a_slow_task_do_not_wait_for_it(place, patiently):
    tasks = place.tasks
    result = burst(*map(tasks.quick.s, range(10)), tasks.hold.s(10))
    with place.worker():
        for index in range(10):
            assert result[index].get(timeout=20) == index
        place.let_go()
        assert result.get(timeout=20) == list(range(11))


def test_child_that_dies_takes_only_the_task_that_it_ran(place):
    tasks = place.tasks
    members = [(tasks.die if i == 20 else tasks.quick).s(i) for i in range(40)]
    result = burst(*members)
    with place.worker():
        values = result.get(timeout=40, propagate=False)
    assert type(values.pop(20)).__name__ == "WorkerLostError"
    assert values == [i for i in range(40) if i != 20]
    assert place.runs() == dict.fromkeys(range(40), 1)


def test_task_that_is_revoked_behind_another_does_not_run(place, patiently):
    tasks = place.tasks
    result = burst(tasks.hold.s(0), *map(tasks.quick.s, range(1, 10)))
    with place.worker():
        until(lambda: place.has_begun(0))
        result[5].revoke()
        error = result[5].get(timeout=20, propagate=False)
        assert isinstance(error, TaskRevoked)
        place.let_go()
        for index in (0, 1, 2, 3, 4, 6, 7, 8, 9):
            assert result[index].get(timeout=20) == index
    assert 5 not in place.runs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_task_that_is_terminated_takes_none_along(place, patiently, number):
    tasks = place.tasks
    result = burst(tasks.hold.s(0), *map(tasks.quick.s, range(1, 10)))
    with place.worker():
        until(lambda: place.has_begun(0))
        result[0].revoke(terminate=True, signal=number.name)
        values = result.get(timeout=20, propagate=False)
    assert isinstance(values[0], TaskRevoked)
    assert values[1:] == list(range(1, 10))


def test_task_that_is_terminated_before_it_begins_does_not_run(place, patiently):
    tasks = place.tasks
    result = burst(tasks.hold.s(0), *map(tasks.quick.s, range(1, 5)))
    with place.worker():
        until(lambda: place.has_begun(0))
        result[3].revoke(terminate=True)
        place.let_go()
        error = result[3].get(timeout=20, propagate=False)
        assert isinstance(error, TaskRevoked)
        assert result[0].get(timeout=20) == 0
        assert result[4].get(timeout=20) == 4
    assert 3 not in place.runs()


def test_time_limit_counts_from_the_begin_of_its_own_task(place, patiently):
    tasks = place.tasks
    members = [tasks.quick.s(0), tasks.limited.s(1), tasks.quick.s(2)]
    result = burst(*members)
    with place.worker():
        values = result.get(timeout=30, propagate=False)
    assert type(values[1]).__name__ == "TimeLimitExceeded"
    assert (values[0], values[2]) == (0, 2)
    assert place.runs() == {0: 1, 1: 1, 2: 1}


def test_task_behind_others_is_told_to_have_started(place, patiently):
    tasks = place.tasks
    result = burst(*map(tasks.quick.s, range(5)), tasks.tracked.s(5))
    with place.worker():
        until(lambda: result[5].state == "STARTED")
        assert result[5].info["pid"]
        place.let_go()
        assert result.get(timeout=20) == list(range(6))


def test_stop_gives_back_what_has_not_begun_behind_another(place, patiently):
    tasks = place.tasks
    result = burst(tasks.hold.s(0), *map(tasks.quick.s, range(1, 10)))
    worker = place.worker()
    worker.start()
    until(lambda: place.has_begun(0))
    with ThreadPoolExecutor(1) as aside:
        stop = aside.submit(worker.stop)
        until(lambda: len(worker.panel.unstarted()) == 9)
        place.let_go()
        stop.result()
    assert place.runs() == {0: 1}
    with place.worker():
        assert result.get(timeout=20) == list(range(10))
    assert place.runs() == dict.fromkeys(range(10), 1)


def test_child_is_replaced_after_as_many_tasks_as_it_may_run(place):
    place.app.conf.worker_max_tasks_per_child = 3
    result = burst(*map(place.tasks.quick.s, range(10)))
    with place.worker():
        assert result.get(timeout=40) == list(range(10))
    assert sorted(place.pids().values()) == [1, 3, 3, 3]


def test_large_arguments_and_answers_come_whole(place):
    sizes = [1, 5_000_000, 10, 3_000_000, 60_000, 60_000, 60_000]
    result = burst(*map(place.tasks.large.s, sizes))
    with place.worker():
        assert [len(value) for value in result.get(timeout=40)] == sizes
        text = "y" * 4_000_000
        many = burst(*(place.tasks.echo.s(text) for _ in range(3)))
        assert many.get(timeout=40) == [text] * 3
