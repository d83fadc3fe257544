"""Waits end although a test has stopped the clock."""

from __future__ import annotations

import threading
import uuid

import freezegun
import pytest

from celerant import Celerant, ResultTimeout, group

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def app():
    with Celerant(f"clock-{uuid.uuid4().hex[:8]}") as app:
        app.task(lambda x: x, name="same")
        yield app


def test_waits_for_missing_results_end_in_time(app):
    gate = threading.Event()
    hold = app.task(lambda: gate.wait(30), name="hold")
    with app.worker(concurrency=1), freezegun.freeze_time("2020-01-01"):
        result = hold.delay()
        for waiting in (
            lambda: result.get(timeout=0.1),
            lambda: group([hold.s()])().get(timeout=0.1),
            lambda: group([hold.s()])().wait(timeout=0.1),
        ):
            with pytest.raises(ResultTimeout):
                waiting()
        gate.set()
        assert result.get(timeout=20) is True


@pytest.mark.parametrize("year", ["1999-01-01", "2040-01-01"])
def test_a_countdown_ends(app, year):
    with freezegun.freeze_time(year), app.worker(concurrency=1):
        result = app.tasks["same"].apply_async((1,), countdown=0.1)
        assert result.get(timeout=20) == 1


def test_a_retry_comes(app):
    @app.task(bind=True, name="again")
    def again(self):
        if not self.request.retries:
            raise self.retry(countdown=0.1)
        return "done"

    with app.worker(concurrency=1), freezegun.freeze_time("2020-01-01"):
        assert again.delay().get(timeout=20) == "done"


def test_a_store_that_is_away_is_given_up(app, monkeypatch, caplog):
    monkeypatch.setattr("celerant.running.storing._PATIENCE", 0.05)
    monkeypatch.setattr("celerant.running.storing._PAUSE_FIRST", 0.01)
    app.backend.connection_errors = (OSError,)

    def away(*_args, **_options):
        raise OSError("away")

    monkeypatch.setattr(app.backend, "store_encoded", away)
    with app.worker(concurrency=1), freezegun.freeze_time("2020-01-01"):
        app.tasks["same"].delay(1)
        ended = threading.Event()
        app.task(ended.set, name="end").delay()
        assert ended.wait(20)
    assert "is lost: the result backend is away" in caplog.text
