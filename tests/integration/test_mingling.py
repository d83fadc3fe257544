"""Workers that start after a task was revoked ask the others, which know."""

from __future__ import annotations

import threading

import pytest

from celerant.errors import TaskRevoked
from celerant.worker.mingling import Mingling
from harness.until import until

pytestmark = pytest.mark.timeout(60)
NAMES = pytest.mark.parametrize("names", [("a@test", "b@test"), ("same@test",) * 2])


@pytest.fixture(params=["redis", "rabbitmq"])
def app(request, make_app):
    return make_app(request.param)


@pytest.fixture
def never(app, runs):
    @app.task(name="mingle.note")
    def note(index):
        runs.note(index)
        return index

    return note


def other_worker(app, name="a@test"):
    """Return a worker that takes from no queue of the tests."""
    other = f"{app.name}-other"
    return app.worker(concurrency=1, queues=other, hostname=name)


def revoke(app, result):
    """Revoke a task of which a worker hears that runs."""
    (answer,) = app.control.revoke(result.id, reply=True, timeout=20, limit=1)
    assert "ok" in next(iter(answer.values()))


@NAMES
def test_a_worker_that_asks_first_runs_nothing_that_was_revoked(
    app, never, runs, names
):
    first, second = names
    result, later = never.delay(1), never.delay(2)
    with other_worker(app, first):
        revoke(app, result)
        worker = app.worker(concurrency=1, hostname=second)
        worker.mingles = "before"
        with worker:
            assert later.get(timeout=20) == 2
    assert runs.seen() == [2]
    with pytest.raises(TaskRevoked):
        result.get(timeout=20)


def test_a_worker_that_asks_aside_learns_it_while_it_runs(app, never, runs):
    result = never.apply_async((1,), countdown=3600)
    with other_worker(app):
        revoke(app, result)
        with app.worker(concurrency=1, hostname="b@test") as worker:
            until(lambda: worker.panel.worker_state.revoked.ids() == [result.id])
            assert never.delay(2).get(timeout=20) == 2
    assert runs.seen() == [2]


def test_what_a_worker_has_revoked_is_told_to_the_others(app, never):
    with other_worker(app) as first:
        second = app.worker(concurrency=1, hostname="b@test")
        second.mingles = None
        with second:
            second.panel.worker_state.revoked.add(["known"])
            mingling = Mingling(app, second.panel, "before")
            with mingling.before():
                pass
            until(lambda: first.panel.worker_state.revoked.ids() == ["known"])


@pytest.mark.redis
def test_a_stock_worker_answers(make_app, celery_worker, runs):
    app = make_app("redis")

    @app.task(name="mingle.note")
    def note(index):
        runs.note(index)
        return index

    result, later = note.delay(1), note.delay(2)
    celery_worker(
        broker=app.conf.broker_url,
        backend=app.conf.result_backend,
        queue=f"{app.name}-other",
        settings={"control_exchange": app.name},
    )
    revoke(app, result)
    worker = app.worker(concurrency=1)
    worker.mingles = "before"
    with worker:
        assert later.get(timeout=20) == 2
    assert runs.seen() == [2]


def asked(monkeypatch):
    """Return a list of the panels of workers that ask."""
    panels = []
    monkeypatch.setattr(
        Mingling, "_ask", lambda _self, _conf, panel, _connection: panels.append(panel)
    )
    return panels


@pytest.mark.parametrize("mingles", ["before", "aside", None])
def test_a_worker_asks_as_it_is_told(app, never, monkeypatch, mingles):
    panels = asked(monkeypatch)
    worker = app.worker(concurrency=1)
    worker.mingles = mingles
    # A worker of another test may still wait for answers.
    others = set(threading.enumerate())
    with worker:
        assert never.delay(1).get(timeout=20) == 1
        threads = {thread.name for thread in set(threading.enumerate()) - others}
        if mingles is None:
            assert "celerant-mingle" not in threads
        else:
            until(lambda: panels == [worker.panel])


def test_a_worker_without_remote_control_asks_nobody(app, never, monkeypatch):
    panels = asked(monkeypatch)
    app.conf.worker_enable_remote_control = False
    worker = app.worker(concurrency=1)
    worker.mingles = "before"
    with worker:
        assert never.delay(1).get(timeout=20) == 1
    assert panels == []


def test_workers_keep_one_clock(app, never):
    with other_worker(app) as old:
        old.panel.worker_state.clock.adjust(1_000)
        with app.worker(concurrency=1, hostname="b@test") as new:
            clock = new.panel.worker_state.clock
            until(lambda: clock.value > 1_000)
            assert never.delay(1).get(timeout=20) == 1
            told = app.control.inspect(timeout=20).clock()
            assert told["b@test"]["clock"] > 1_000
            stats = app.control.inspect(timeout=20).stats()
            assert int(stats["b@test"]["clock"]) > 1_000
