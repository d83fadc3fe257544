from __future__ import annotations

import re

import pytest

from celerant import Celerant
from celerant.doctor import examine
from celerant.doctor.places import check as check_stores
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


# -- stores of workers ---------------------------------------------------------------


def levels(app, ours, theirs):
    """Return the levels of what is found of a worker's store, and the texts."""
    app.conf.result_backend = ours
    found = list(check_stores(app, [("w@there", {"result_backend": theirs})], list))
    return [f.level for f in found], " ".join(f.text for f in found)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("redis://127.0.0.1/9", "redis://127.0.0.1:6379/9"),
        ("redis://localhost:6379/9", "redis://127.0.0.1:6379/9"),
        ("redis://LOCALHOST:6379/9", "redis://[::1]/9"),
        ("redis://store", "redis://:**@store:6379/0"),
        ("redis://store/", "redis://user:**@Store:6379//0"),
        ("redis:///3", "redis://localhost/3"),
        ("redis", "redis://localhost:6379/0"),
        ("redis://store:6379/1?socket_timeout=3", "redis://store/1"),
        ("rediss://store:6379/1", "redis://store/1"),
        ("redis+socket:///run/redis.sock?virtual_host=2", "socket:///run/redis.sock"),
        ("sentinel://a/1;sentinel://b:26379/1", "sentinel://b/1;sentinel://a:26379/1"),
        ("rpc://", "rpc"),
    ],
)
def test_one_store_in_other_words_is_one(app, ours, theirs):
    assert levels(app, ours, theirs)[0] == ["ok"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("redis://127.0.0.1:6379/9", "redis://redis:6379/9"),
        ("redis://localhost:16379", "redis://redis"),
        ("redis://store:6379", "rediss://store:6380"),
        ("redis://master", "sentinel://a;sentinel://b"),
        ("sentinel://a;sentinel://b", "sentinel://b;sentinel://c"),
        ("redis://localhost", "redis+socket:///run/redis.sock"),
    ],
)
def test_hosts_of_two_names_may_be_one_store(app, ours, theirs):
    found, text = levels(app, ours, theirs)
    assert found == ["warning"]
    assert "may be one" in text


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("redis://store/1", "redis://store/2"),
        ("redis://store", "redis://store/2"),
        ("redis://store:6379", "redis://store:6380"),
        ("redis://store/1", "redis://other/2"),
        ("redis://store", "rpc://"),
        ("redis+socket:///run/one.sock", "redis+socket:///run/two.sock"),
        ("redis://store", "db+postgresql://store/results"),
        ("redis://store", "redis://store:port"),
        ("redis://store", "redis://["),
    ],
)
def test_two_stores_are_a_problem(app, ours, theirs):
    found, text = levels(app, ours, theirs)
    assert found == ["problem"]
    assert "this app looks for them on redis" in text


def test_places_are_told_without_secrets(app):
    _, text = levels(app, "redis://u:ours@store/1?key=x", "redis://:theirs@store/2")
    assert not {"ours", "theirs", "key", "u:"} & set(re.split(r"[/@:?=, ]+", text))
    assert "redis://store:6379/2" in text


@pytest.mark.parametrize(
    ("broker", "ours", "found"),
    [
        ("redis://:**@store:6379/7", "redis://store/8", ["problem"]),
        ("redis://store:6379/7", "redis://store/7", ["ok"]),
        ("amqp://u:**@broker", "redis://store/8", ["problem"]),
        (["redis://a", "redis://b"], "redis://a", ["problem"]),
        ("redis://known-here-by-another-name/7", None, ["ok"]),
        (None, "redis://store/8", []),
    ],
)
def test_a_worker_without_a_store_of_its_own_stores_beside_its_broker(
    app, broker, ours, found
):
    app.conf.result_backend = ours
    conf = {"broker_url": broker, "result_backend": None, "celerant_stall_timeout": 5}
    told = list(check_stores(app, [("w@there", conf)], list))
    assert [f.level for f in told] == found


@pytest.mark.parametrize(
    ("report", "found"),
    [
        ({"ok": "transport:redis results:disabled\n"}, ["problem"]),
        ({"ok": "transport:redis results:redis://:**@store:6379/8\n"}, ["ok"]),
        ({"ok": "no such line"}, []),
        ("no report", []),
    ],
)
def test_a_celery_worker_without_the_setting_reports_its_store(app, report, found):
    app.conf.result_backend = "redis://store/8"
    confs = [("w@there", {"broker_url": "redis://store/7", "result_backend": None})]
    told = list(check_stores(app, confs, lambda: [("w@there", report)]))
    assert [f.level for f in told] == found
    if found == ["problem"]:
        assert "stores results nowhere, and this app looks" in told[0].text


def test_nothing_is_told_of_stores_where_neither_side_has_one(app):
    app.conf.result_backend = "disabled"
    report = [("w@there", {"ok": "results:disabled"})]
    assert list(check_stores(app, [("w@there", {})], lambda: report)) == []


def test_the_settings_of_an_embedded_worker_tell_that_it_is_one(app):
    app.task(name="known")(lambda: None)
    with app.worker(concurrency=1):
        told = app.control.broadcast("conf", {"with_defaults": True}, reply=True)
    confs = [item for one in told for item in one.items()]
    app.conf.result_backend = "redis://other"
    (finding,) = check_stores(app, confs, list)
    assert "stores results on memory://" in finding.text


# -- workers of one name -------------------------------------------------------------


def test_workers_of_one_name_are_told_and_both_are_examined(app, caplog):
    app.task(name="near")(lambda: None)
    app.task(name="far", queue="far")(lambda: None)
    near = app.conf.task_default_queue
    with app.worker(concurrency=1, queues=near), app.worker(queues="far"):
        findings = list(check_workers(app, 1.0))
    (told,) = [f for f in findings if f.level != "ok"]
    assert told.level == "warning"
    assert "2 workers are named celerant@" in told.text
    assert "--hostname" in told.remedy
    assert any(f.text.startswith("2 answer: ") for f in findings)
    assert caplog.messages == []


def test_a_task_that_one_of_two_workers_of_one_name_lacks_is_told(app, monkeypatch):
    app.task(name="known")(lambda: None)
    queue = {"name": app.conf.task_default_queue}
    answers = {
        "active_queues": [{"w@a": [queue]}, {"w@a": [queue]}, "no answer"],
        "registered": [{"w@a": ["known [rate_limit=1]"]}, {"w@a": []}],
    }
    monkeypatch.setattr(
        type(app.control), "broadcast", lambda _, name, *_a, **_k: answers.get(name, [])
    )
    texts = [f.text for f in check_workers(app, 1.0) if f.level == "warning"]
    assert texts == ["2 workers are named w@a", "some workers do not know known"]
