"""Members that one process sends once more, and others that have the group's handle."""

from __future__ import annotations

import threading

import pytest

from celerant import group
from celerant.common.group_stamp import GROUP_STAMP
from celerant.errors import CanvasError
from celerant.results.handle_format import sealed_name, stamps_name
from harness.elsewhere import app_elsewhere
from harness.redis_queue import stamps_of
from harness.until import until

pytestmark = pytest.mark.timeout(120)
SIZE = 6


@pytest.fixture
def app(make_app, runs):
    """An app with a task that fails on odd numbers until it is mended."""
    app = make_app("redis")
    app.mended = threading.Event()

    @app.task(name="mended.note")
    def note(index):
        runs.note(index)
        if index % 2 and not app.mended.is_set():
            raise ValueError(index)
        return index

    return app


@pytest.fixture
def source(app):
    return [app.signature("mended.note", (i,)) for i in range(SIZE)]


@pytest.fixture
def handle(app, source):
    """That of a group that has run, and of which half has failed."""
    with app.worker(concurrency=2):
        result = group(source, app=app).apply_async(window=10)
        result.wait(timeout=30)
    app.mended.set()
    return result.handle


@pytest.fixture
def process(app):
    """Return a function that makes an app as another process has it."""
    made = []

    def make():
        made.append(app_elsewhere(app))
        return made[-1]

    yield make
    for other in made:
        other.close()


def states(app, result):
    records = app.backend.fetch(result.roster.select(list(range(SIZE))))
    return [record and app.backend.decode(record)["status"] for record in records]


def revoked(app, result):
    found = states(app, result)
    return [found[index] for index in (1, 3, 5)] == ["REVOKED"] * 3


def test_a_cancel_by_the_handle_stops_what_another_process_sent_again(
    app, source, handle, process, runs
):
    process().attach(handle).retry("failed", source=source)
    assert len(stamps_of(app)) == 3
    canceller = process().attach(handle)
    assert canceller.cancel().cancelled == 3
    with app.worker(concurrency=2):
        until(lambda: revoked(app, canceller))
    assert runs.seen() == list(range(SIZE))


def test_what_another_process_has_sent_again_is_not_sent_while_it_may_run(
    app, source, handle, process, runs
):
    late = process().attach(handle)
    late.wait(timeout=30)
    process().attach(handle).retry("failed", source=source)
    # It has seen the first ends only.
    assert late.counts()["FAILURE"] == 3
    with pytest.raises(CanvasError, match=r"member 1 was sent once more.*may run"):
        late.retry("failed", source=source)
    assert len(stamps_of(app)) == 3
    with app.worker(concurrency=2):
        assert process().attach(handle).get(timeout=30) == list(range(SIZE))
    assert runs.seen() == sorted([*range(SIZE), 1, 3, 5])


def test_a_process_sends_again_what_another_sent_again_and_cancelled(
    app, source, handle, process, runs
):
    first = process().attach(handle)
    first.retry("failed", source=source)
    bore = stamps_of(app)
    first.cancel()
    with app.worker(concurrency=2):
        second = process().attach(handle)
        until(lambda: revoked(app, second))
        second.retry("missing", source=source)
        assert second.get(timeout=30) == list(range(SIZE))
    assert len(second.members.stamps) == 3
    assert {*second.members.stamps}.issuperset(bore)
    assert runs.seen() == sorted([*range(SIZE), 1, 3, 5])


def test_the_process_that_sent_the_group_cancels_what_another_sent_again(
    app, source, process, runs
):
    with app.worker(concurrency=2):
        result = group(source, app=app).apply_async(window=10)
        result.wait(timeout=30)
    other = process().attach(result.handle)
    other.retry("failed", source=source)
    told = []
    app.backend.revoke_by_stamped_headers = lambda what, **_: told.append(what)
    # Here all are done.
    result.cancel()
    (again,) = {*stamps_of(app)}
    assert told == [{GROUP_STAMP: [result.id, again]}]
    result.retry([0])
    result.cancel()
    assert told[1] == {GROUP_STAMP: [result.id, again, stamps_of(app)[-1]]}


def test_a_group_that_ended_after_it_was_attached_is_sent_again(
    app, source, process, runs
):
    go = threading.Event()

    def slow():
        yield source[0]
        go.wait(timeout=30)
        yield from source[1:]

    with app.worker(concurrency=2):
        result = group(slow(), app=app).apply_async(window=10)
        until(lambda: len(result.members.barrier) == 1)
        attached = process().attach(result.handle)
        with pytest.raises(CanvasError, match="still being sent"):
            attached.retry("failed", source=source)
        go.set()
        result.wait(timeout=30)
        until(lambda: app.backend.take_aside(sealed_name(result.roster.uuid)))
        app.mended.set()
        attached.retry("failed", source=source)
        assert attached.get(timeout=30) == list(range(SIZE))
    assert runs.seen() == sorted([*range(SIZE), 1, 3, 5])


def test_a_changed_list_of_stamps_keeps_no_cancel_from_working(
    app, source, handle, process, caplog
):
    retrying = process().attach(handle)
    retrying.retry("failed", source=source)
    app.backend.put_aside(stamps_name(retrying.roster.uuid), b"?" * 40)
    canceller, told = process().attach(handle), []
    canceller.backend.revoke_by_stamped_headers = lambda what, **_: told.append(what)
    canceller.cancel()
    assert told == [{GROUP_STAMP: [canceller.id]}]
    assert "changed by somebody else" in caplog.text
