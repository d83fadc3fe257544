from __future__ import annotations

import pytest

from celerant import Celerant
from celerant.doctor import examine
from celerant.doctor.workers import check as check_workers

CLOSED = "redis://127.0.0.1:1/0"


def found(app, about, level):
    return [f for f in examine(app) if (f.about, f.level) == (about, level)]


def test_a_broker_that_is_away_is_a_problem_and_its_password_is_not_shown():
    with Celerant("h3away", broker="redis://:secret@127.0.0.1:1/0") as app:
        findings = list(examine(app))
    problems = [f for f in findings if f.level == "problem"]
    assert {f.about for f in problems} == {"broker", "store"}
    assert all(f.remedy for f in problems)
    assert "secret" not in str(findings)


def test_an_app_in_memory_is_told_where_its_messages_stay(app):
    (told,) = found(app, "broker", "note")
    assert "with app.worker()" in told.remedy
    assert [f for f in examine(app) if f.level == "problem"] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"default_retry_delay": 7200}, "waits up to 7200 s"),
        ({"retry_backoff": True, "retry_backoff_max": 9000}, "waits up to 9000 s"),
        ({"acks_late": True, "time_limit": 4000}, "may run for 4000 s"),
    ],
)
def test_a_task_that_outlasts_visibility_timeout_is_told(options, told):
    with Celerant("h3late", broker=CLOSED) as app:
        app.task(name="slow", **options)(lambda: None)
        (finding,) = found(app, "visibility", "warning")
        assert told in finding.text
        app.conf.broker_transport_options = {"visibility_timeout": 10_000}
        assert found(app, "visibility", "warning") == []


def test_an_app_without_tasks_is_told(app):
    assert any("knows no tasks" in f.text for f in found(app, "settings", "warning"))


@pytest.mark.parametrize(("store", "count"), [("disabled://", 1), (None, 0)])
def test_an_index_that_no_store_keeps_is_a_problem(store, count):
    with Celerant("h3noindex", backend=store, celerant_index_groups=True) as app:
        told = [f for f in found(app, "settings", "problem") if "index" in f.text]
    assert len(told) == count


def test_a_check_that_fails_leaves_the_others_be(app, monkeypatch):
    def fail(_app, _reach):
        raise RuntimeError("oops")

    monkeypatch.setattr("celerant.doctor.stores.check", fail)
    problems = [f for f in examine(app) if f.level == "problem"]
    assert [f.about for f in problems] == ["store"]
    assert "oops" in problems[0].text


def test_a_worker_of_this_process_is_examined(app):
    app.task(name="known")(lambda: None)
    with app.worker(concurrency=1):
        findings = list(check_workers(app, 1.0))
    assert [f for f in findings if f.level != "ok"] == []
    assert any("know all tasks" in f.text for f in findings)


def test_a_queue_that_nobody_consumes_is_a_problem(app):
    app.task(name="far", queue="far")(lambda: None)
    with app.worker(concurrency=1):
        problems = [f for f in check_workers(app, 1.0) if f.level == "problem"]
    assert ["far" in f.text and "-Q far" in f.remedy for f in problems] == [True]
