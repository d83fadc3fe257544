from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from celerant import Celerant, PublishError, group, metrics
from harness.until import until
from harness.without_package import error_without

DASHBOARD = Path(__file__).parents[3] / "examples" / "grafana_dashboard.json"


@pytest.fixture
def registry():
    """Metrics are on."""
    registry = CollectorRegistry()
    uninstall = metrics.install(registry)
    yield registry
    uninstall()
    assert list(registry.collect()) == []


def test_members_are_counted_by_their_fate(app, registry):
    group(app.signature("any") for _ in range(30)).apply_async()
    app.send_task("any")
    labels = {"app": app.name, "fate": "confirmed"}
    assert registry.get_sample_value("celerant_members_total", labels) == 31
    labels = {"app": app.name}
    assert registry.get_sample_value("celerant_dispatch_seconds_count", labels) == 2
    assert registry.get_sample_value("celerant_dispatch_seconds_sum", labels) > 0


def test_members_that_did_not_leave_are_counted(registry):
    closed = "redis://127.0.0.1:1/0"
    with (
        Celerant("h3closed", broker=closed, task_publish_retry=False) as app,
        pytest.raises(PublishError),
    ):
        group([app.signature("any"), app.signature("any")]).apply_async()
    labels = {"app": "h3closed", "fate": "unsent"}
    assert registry.get_sample_value("celerant_members_total", labels) == 2


def test_results_are_counted_by_state_and_unfinished_members_now(app, registry):
    gate = threading.Event()

    @app.task(name="halve")
    def halve(x):
        gate.wait(10)
        return 1 / x

    labels = {"app": app.name}
    result = group(halve.s(i) for i in range(4)).apply_async()
    with app.worker(concurrency=1):
        result.ready()
        assert registry.get_sample_value("celerant_unfinished_members", labels) == 4
        gate.set()
        result.get(timeout=10, propagate=False)
    by_state = {
        state: registry.get_sample_value(
            "celerant_results_total", {**labels, "state": state}
        )
        for state in ("SUCCESS", "FAILURE", "REVOKED")
    }
    assert by_state == {"SUCCESS": 3, "FAILURE": 1, "REVOKED": None}
    until(lambda: registry.get_sample_value("celerant_unfinished_members", labels) == 0)


def test_slots_of_workers_are_seen_as_they_are(app, registry):
    begun, gate = threading.Event(), threading.Event()

    @app.task(name="stay")
    def stay():
        begun.set()
        gate.wait(10)

    with app.worker(concurrency=3, hostname="w@here"):
        labels = {"app": app.name, "worker": "w@here"}
        assert registry.get_sample_value("celerant_worker_slots", labels) == 3
        result = stay.delay()
        assert begun.wait(10)
        assert registry.get_sample_value("celerant_worker_busy_slots", labels) == 1
        gate.set()
        result.get(timeout=10)
        labels["task"] = "stay"
        assert registry.get_sample_value("celerant_worker_tasks_total", labels) == 1


def test_workers_of_one_name_are_one_series(app, registry):
    app.task(name="quick")(lambda: None)
    names = {"hostname": "w@here"}
    with app.worker(concurrency=2, **names), app.worker(concurrency=3, **names):
        results = [app.tasks["quick"].delay() for _ in range(4)]
        for result in results:
            result.get(timeout=10)
        told = generate_latest(registry).decode().splitlines()
    series = [line.rpartition(" ") for line in told if "worker=" in line]
    found = {name.partition("{")[0]: float(value) for name, _, value in series}
    assert len(series) == len(found) == 3
    assert found["celerant_worker_slots"] == 5
    assert found["celerant_worker_tasks_total"] == 4


def test_the_metrics_of_two_threads_do_not_mix(app, registry):
    def send():
        for _ in range(50):
            app.send_task("any")

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = {"app": app.name}
    assert registry.get_sample_value("celerant_dispatch_seconds_count", labels) == 200


def test_the_dashboard_asks_for_metrics_that_exist(app, registry):
    app.send_task("any")
    with app.worker(concurrency=1):
        told = generate_latest(registry).decode()
    known = set(re.findall(r"^# TYPE (\w+) ", told, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known}
    asked = set(
        re.findall(r"celerant_\w+", json.dumps(json.loads(DASHBOARD.read_text())))
    )
    assert asked, "the dashboard asks for nothing"
    assert asked <= known


def test_the_docstring_names_the_metrics_that_exist(app, registry):
    app.send_task("any")
    told = generate_latest(registry).decode()
    known = set(re.findall(r"^# TYPE (celerant_\w+) ", told, re.MULTILINE))
    named = set(re.findall(r"^\| `(\w+)`", metrics.__doc__, re.MULTILINE))
    assert {name for name in known if not name.endswith("_created")} == named


def test_metrics_name_their_extra():
    told = error_without(
        ["prometheus_client"], "from celerant import metrics", "metrics.install()"
    )
    assert "pip install 'celerant[metrics]'" in told
