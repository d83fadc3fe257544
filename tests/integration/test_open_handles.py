"""Handles of groups that are still being sent, in other processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from celerant import group
from celerant.errors import CelerantError, ForkError, HandleError, TaskRevoked
from celerant.results.handle_format import open_name
from harness.elsewhere import app_elsewhere
from harness.forking import in_child
from harness.until import until, until_in_loop

BROKERS = ["redis", "rabbitmq"]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def gate():
    """Lets one run of the task end each time that it is released."""
    return threading.Semaphore(0)


@pytest.fixture
def app(request, make_app, runs, gate):
    """An app with a task that waits for the gate and returns its index."""
    app = make_app(getattr(request, "param", "redis"))

    @app.task(name="open.note")
    def note(index, how=""):
        gate.acquire()
        runs.note(index)
        if how == "fail":
            raise ValueError(index)
        return index

    return app


@contextmanager
def working(app, gate, slots=2):
    """Run a worker, and let its tasks end however the test does."""
    with app.worker(concurrency=slots):
        try:
            yield
        finally:
            gate.release(1000)


@pytest.fixture
def elsewhere(app):
    """Another app on the same store, as another process has it."""
    with app_elsewhere(app) as other:
        yield other


ELSEWHERE = """
import sys
from celerant import Celerant

app = Celerant("elsewhere", broker="memory://", backend=sys.argv[1])
result = app.attach(sys.argv[2])
print(result.sealed, result.size, flush=True)
arrivals = result.as_completed(timeout=60)
print(sorted(next(arrivals).get() for _ in range(5)), flush=True)
print(sorted(member.get() for member in arrivals), flush=True)
print(result.sealed, result.size, len(result), result.get(timeout=60) == [*range(20)])
print(result.progress().done, result.counts()["SUCCESS"], result.id)
"""


@pytest.mark.parametrize("app", BROKERS, indirect=True)
def test_another_process_follows_a_group_to_its_end(app, gate):
    note = app.tasks["open.note"]
    with working(app, gate, 20):
        result = group(note.s(i) for i in range(20)).apply_async(window=5)
        with subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, app.conf.result_backend, result.handle],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            lines = iter(process.stdout.readline, "")
            assert next(lines) == "False None\n"
            gate.release(5)
            # One that leaves as another ends may pass the gate before one that waits.
            first = json.loads(next(lines))
            assert len(first) == 5
            gate.release(15)
            assert sorted([*first, *json.loads(next(lines))]) == [*range(20)]
            assert next(lines) == "True 20 20 True\n"
            assert next(lines) == f"20 20 {result.id}\n"
        assert result.get(timeout=30) == list(range(20))


@pytest.fixture
def heard(caplog):
    """Wait until a sender has heard what another process asks for."""
    caplog.set_level(logging.INFO, "celerant")

    def wait(word):
        told = f"another process asks to {word}"
        until(lambda: any(told in line for line in caplog.messages))

    return wait


def test_another_process_pauses_the_feeding(app, elsewhere, gate, runs, heard):
    note = app.tasks["open.note"]
    with working(app, gate):
        members = (note.s(i) for i in range(20))
        result = group(members, app=app).apply_async(window=4)
        until(lambda: len(result.members.barrier) == 4)
        attached = elsewhere.attach(result.handle)
        attached.pause()
        attached.pause()
        heard("pause")
        gate.release(20)
        until(lambda: result.wait(count=4, timeout=30) == 4)
        assert (result.size, len(result.members.barrier)) == (None, 4)
        attached.resume_feeding()
        assert attached.get(timeout=30) == result.get(timeout=30) == list(range(20))
    assert runs.seen() == list(range(20))


def test_the_sender_goes_on_after_a_pause_of_another_process(
    app, elsewhere, gate, heard
):
    note = app.tasks["open.note"]
    with working(app, gate):
        result = group((note.s(i) for i in range(9)), app=app).apply_async(window=3)
        until(lambda: len(result.members.barrier) == 3)
        attached = elsewhere.attach(result.handle)
        attached.pause()
        heard("pause")
        gate.release(9)
        assert result.wait(count=3, timeout=30) == 3
        result.resume_feeding()
        assert result.get(timeout=30) == list(range(9))


def test_a_paused_group_is_cancelled_from_elsewhere(app, elsewhere, gate):
    note = app.tasks["open.note"]
    with working(app, gate):
        result = group((note.s(i) for i in range(9)), app=app).apply_async(window=3)
        attached = elsewhere.attach(result.handle)
        result.pause()
        attached.cancel()
        until(lambda: result.stopped_by == "cancel")
        gate.release(9)
        with pytest.raises(TaskRevoked):
            result.get(timeout=30)


def test_a_group_that_was_paused_and_sent_once_more_is_not_paused(
    app, elsewhere, gate, heard
):
    note = app.tasks["open.note"]
    with working(app, gate):
        members = [note.s(i) for i in range(9)]
        result = group(members, app=app).apply_async(window=3)
        attached = elsewhere.attach(result.handle)
        attached.pause()
        heard("pause")
        attached.cancel()
        until(lambda: result.sealed)
        gate.release(9)
        # The worker drops what it has not begun.
        assert result.wait(timeout=30) == 9
        result.retry("missing", members)
        assert result.get(timeout=30) == list(range(9))


def test_progress_and_failures_are_of_what_has_left(app, elsewhere, gate):
    note = app.tasks["open.note"]
    with working(app, gate, 20):
        members = (note.s(i, "fail") for i in range(12))
        result = group(members, app=app).apply_async(window=8)
        handle = result.handle
        attached = elsewhere.attach(handle)
        assert (attached.handle, attached.progress().done) == (handle, 0)
        gate.release(2)
        until(lambda: attached.progress().done == 2)
        assert (attached.progress().total, attached.sealed) == (None, False)
        until(lambda: attached.progress() and len(attached.members.barrier) == 10)
        assert attached.failures().total == 2
        assert not attached.members.is_watched
        gate.release(10)
        until(lambda: attached.progress().total == 12)
        # A group that was sent whole has another handle; the one before still serves.
        assert result.handle != handle
        assert elsewhere.attach(handle).wait(timeout=30) == 12


def test_a_failed_source_is_known_elsewhere(app, elsewhere, gate):
    note = app.tasks["open.note"]

    def source():
        for index in range(5):
            yield note.s(index)
        raise OSError("no more rows")

    with working(app, gate):
        result = group(source(), app=app).apply_async(window=3)
        attached = elsewhere.attach(result.handle)
        gate.release(5)
        with pytest.raises(CelerantError, match=r"^OSError: no more rows$"):
            attached.get(timeout=30)
        assert attached.failed()
        assert (attached.size, attached.stopped_by) == (len(result), None)
        for known in (elsewhere.attach(result.handle), attached):
            assert str(known.source_error) == "OSError: no more rows"


def test_a_breaker_is_known_elsewhere(app, elsewhere, gate):
    note = app.tasks["open.note"]
    members = [note.s(i, "fail" * (i < 50)) for i in range(200)]
    with working(app, gate):
        result = group(members, app=app).apply_async(window=10, stop_if=3)
        attached = elsewhere.attach(result.handle)
        gate.release(200)
        until(lambda: result.stopped_by == "stop_if")
        until(lambda: attached.sealed)
    assert (attached.stopped_by, attached.source_error) == ("stop_if", None)


@pytest.mark.parametrize("app", BROKERS, indirect=True)
def test_a_cancel_elsewhere_stops_the_feeding(app, elsewhere, gate):
    note = app.tasks["open.note"]
    with working(app, gate):
        members = (note.s(i) for i in range(100_000))
        result = group(members, app=app).apply_async(window=100)
        attached = elsewhere.attach(result.handle)
        until(lambda: len(result.members.barrier) == 100)
        attached.cancel()
        gate.release(1000)
        with pytest.raises(TaskRevoked):
            result.get(timeout=30)
        until(lambda: result.stopped_by == "cancel")
        assert len(result) < 1000
        until(lambda: attached.sealed)
        assert attached.stopped_by == "cancel"


def test_a_cancel_elsewhere_stops_an_event_loop_that_sends_without_a_window(
    app, elsewhere
):
    note = app.tasks["open.note"]

    async def members():
        for index in range(100_000):
            yield note.s(index)
            # The source is slow: the sender looks for requests between its members.
            await asyncio.sleep(0.01)

    async def main():
        result = await group(members(), app=app).asend()
        await until_in_loop(lambda: len(result.members.barrier))
        handle = await asyncio.to_thread(lambda: result.handle)
        attached = elsewhere.attach(handle)
        await asyncio.to_thread(attached.cancel)
        await until_in_loop(lambda: result.stopped_by == "cancel")
        with pytest.raises(TaskRevoked):
            await result
        return result

    assert len(asyncio.run(main())) < 10_000


def test_members_with_ids_of_their_own_come_with_the_whole(app, elsewhere, gate):
    note = app.tasks["open.note"]
    members = (
        note.s(i) if i < 2 else note.s(i).set(task_id=f"{app.name}-{i}")
        for i in range(6)
    )
    with working(app, gate, 6):
        result = group(members, app=app).apply_async(window=4)
        attached = elsewhere.attach(result.handle)
        until(lambda: len(result.members.barrier) == 4)
        until(lambda: attached.progress() and len(attached.members.barrier) == 2)
        gate.release(6)
        assert attached.get(timeout=30) == list(range(6))
        assert [one.id for one in attached] == [one.id for one in result]


def test_chains_of_a_group_are_followed(app, elsewhere, gate):
    note = app.tasks["open.note"]
    members = (note.si(i) | note.si(10 + i) for i in range(6))
    with working(app, gate):
        result = group(members, app=app).apply_async(window=3)
        attached = elsewhere.attach(result.handle)
        gate.release(6)
        # Of six runs no more than four are first steps.
        assert attached.wait(count=2, timeout=30) >= 2
        assert attached[0].parent.get(timeout=30) == 0
        gate.release(6)
        assert attached.get(timeout=30) == [10 + i for i in range(6)]
        assert attached.task_ids() == result.task_ids()


def test_a_group_that_goes_on_is_followed_by_those_that_come_later(
    app, elsewhere, gate
):
    note = app.tasks["open.note"]
    members = [note.s(i) for i in range(100)]
    with working(app, gate):
        sent = group(members, app=app)
        result = sent.apply_async(window=10)
        handle = result.handle
        until(lambda: len(result.members.barrier) == 10)
        result.feeding.stop("close")
        stopped = elsewhere.attach(handle)
        assert (stopped.sealed, stopped.stopped_by) == (True, "close")
        sent.resume(result)
        later = elsewhere.attach(handle)
        assert (later.sealed, later.stopped_by) == (False, None)
        gate.release(100)
        assert later.get(timeout=60) == list(range(100))


def test_a_group_whose_announcement_was_changed_fails_alone(app, elsewhere, gate):
    note = app.tasks["open.note"]
    with working(app, gate):
        changed, other = (
            group(note.s(i) for i in range(9)).apply_async(window=3) for _ in range(2)
        )
        attached = elsewhere.attach(changed.handle)
        waited = elsewhere.attach(other.handle)
        # All that there is room for has been announced. Nobody watches it yet, so that
        # each look asks the store, however long the consumer rests between two sweeps.
        until(lambda: attached.progress() and len(attached.members.barrier) == 3)
        assert not attached.ready()
        assert not waited.ready()
        app.backend.put_aside(open_name(changed.roster.uuid), b"x" * 40)
        with pytest.raises(HandleError, match="changed by somebody else"):
            attached.get(timeout=30)
        gate.release(18)
        assert waited.get(timeout=30) == list(range(9))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_does_not_announce_its_parents_group(app, elsewhere, gate):
    note = app.tasks["open.note"]
    with working(app, gate):
        result = group(note.s(i) for i in range(9)).apply_async(window=3)

        def take():
            with pytest.raises(ForkError, match="is fed by process"):
                _ = result.handle
            return True

        assert in_child(take) is True
        attached = elsewhere.attach(result.handle)
        gate.release(9)
        assert attached.get(timeout=30) == list(range(9))


def test_a_store_that_refuses_announcements_is_told_of_once(
    app, gate, monkeypatch, caplog
):
    note = app.tasks["open.note"]
    with working(app, gate):
        result = group(note.s(i) for i in range(50)).apply_async(window=5)
        assert result.handle

        def refuse(*_):
            raise OSError("read only")

        monkeypatch.setattr(app.backend, "put_aside", refuse)
        gate.release(50)
        assert result.get(timeout=30) == list(range(50))
        until(lambda: not result.feeding.is_running)
    told = [one for one in caplog.messages if "not known to other processes" in one]
    said = f"how much of group {result.id} has left is not known to other processes"
    assert told == [f"{said}: read only"]
