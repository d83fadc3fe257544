"""Metrics for Prometheus: sent members, times, unfinished results and busy workers.

`install` switches them on. It needs ``prometheus_client``, the extra ``metrics``. The
application serves them by ``prometheus_client.start_http_server``, or by its WSGI and
ASGI apps. `examples/grafana_dashboard.json` is a dashboard for them. Workers of one
name are summed.


| metric | labels | meaning |
|---|---|---|
| `celerant_members_total` | app, fate | members of dispatches, by their fate |
| `celerant_dispatch_seconds` | app | time of a dispatch, from first to last |
| `celerant_unfinished_members` | app | members without a result, of groups looked at |
| `celerant_results_total` | app, state | results that came for groups looked at |
| `celerant_worker_slots` | app, worker | tasks that the worker runs at a time |
| `celerant_worker_busy_slots` | app, worker | tasks that run now |
| `celerant_worker_tasks_total` | app, worker, task | tasks that have begun |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.extras import extra
from celerant.context.apps import all_apps
from celerant.context.workers import workers_of
from celerant.dispatch.watching import WATCHERS
from celerant.results.consuming.service import ARRIVED
from celerant.results.tracking.member_values import STATE_NAMES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from celerant.dispatch.watching import Departure
    from celerant.errors.report import Report
    from celerant.results.consuming.feed import ConsumerBackend

__all__ = ["install"]

#: Seconds: a single task takes about the first, a million members about the last.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)


def install(registry: CollectorRegistry | None = None) -> Callable[[], None]:
    """Count from now on, for all apps and embedded workers of this process.

    Args:
        registry: Where the metrics are registered; by default prometheus_client's own.

    Returns:
        A function that switches the metrics off again and removes them.

    Raises:
        CelerantError: ``prometheus_client`` is not installed.

    Cost: some 20 us for a dispatch of any size. Workers and unfinished members are
        counted when the metrics are read. Without a call it costs nothing.
    """
    client = extra("prometheus_client", of="metrics", needed_by="celerant.metrics")
    where: Any = client.REGISTRY if registry is None else registry
    watcher = _Dispatches(client, where)
    results = client.Counter(
        "celerant_results",
        "Results that came for groups looked at.",
        ("app", "state"),
        registry=where,
    )

    def arrived(store: ConsumerBackend, came: list[int]) -> None:
        app = _app_of(store)
        for state, count in zip(STATE_NAMES, came, strict=True):
            if count > 0:
                results.labels(app, state).inc(count)

    collector = _Now()
    where.register(collector)
    WATCHERS.append(watcher)
    ARRIVED.append(arrived)

    def uninstall() -> None:
        WATCHERS.remove(watcher)
        ARRIVED.remove(arrived)
        for one in (collector, results, *watcher.metrics):
            where.unregister(one)

    return uninstall


def _app_of(store: Any) -> str:
    app = store.app()
    return "" if app is None else str(app.name)


class _Dispatches:
    """Counts members and times dispatches: a `Watcher`."""

    def __init__(self, client: Any, registry: CollectorRegistry) -> None:
        self._members = client.Counter(
            "celerant_members",
            "Members sent, by what became of them.",
            ("app", "fate"),
            registry=registry,
        )
        self._seconds = client.Histogram(
            "celerant_dispatch_seconds",
            "Time of a dispatch, from first to last.",
            ("app",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.metrics = (self._members, self._seconds)
        self._began: dict[int, float] = {}

    def begin(self, departure: Departure) -> None:
        self._began[id(departure)] = monotonic()

    def end(
        self,
        departure: Departure,
        report: Report | None,
        error: BaseException | None,  # noqa: ARG002 - the report counts what is left
    ) -> None:
        began, app = self._began.pop(id(departure)), departure.app_name
        if report is None:
            # No message has left, because of a bad member or a lost broker.
            return
        self._seconds.labels(app).observe(monotonic() - began)
        for fate, count in report.counts().items():
            if count:
                self._members.labels(app, fate).inc(count)


class _Now:
    """The metrics that are collected only when they are read."""

    def describe(self) -> Iterator[Metric]:
        """Return the metrics without values."""
        return iter(_metrics())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of all apps and workers."""
        unfinished, slots, busy, tasks = metrics = _metrics()
        pending: dict[str, int] = {}
        workers: dict[int, tuple[str, Any]] = {}
        for app in all_apps():
            pending[app.name] = pending.get(app.name, 0) + app.unfinished
            for worker in workers_of(app.name):
                workers[id(worker)] = app.name, worker
        for name, count in pending.items():
            unfinished.add_metric([name], count)
        # Summed, for workers may have one name, and a series is there once.
        at_a_time: Counter[tuple[str, ...]] = Counter()
        now: Counter[tuple[str, ...]] = Counter()
        begun: Counter[tuple[str, ...]] = Counter()
        for name, worker in workers.values():
            labels, panel = (name, worker.hostname), worker.panel
            if panel is None:
                continue
            at_a_time[labels] += panel.pool()["max-concurrency"]
            now[labels] += len(panel.worker_state.active())
            for task, count in panel.worker_state.total().items():
                of_task = (*labels, task)
                begun[of_task] += count
        for metric, counts in ((slots, at_a_time), (busy, now), (tasks, begun)):
            for of_one, count in counts.items():
                metric.add_metric(of_one, count)
        return iter(metrics)


def _metrics() -> tuple[Any, Any, Any, Any]:
    core = extra("prometheus_client.core", of="metrics", needed_by="celerant.metrics")
    return (
        core.GaugeMetricFamily(
            "celerant_unfinished_members",
            "Members without a result, of groups looked at.",
            labels=("app",),
        ),
        core.GaugeMetricFamily(
            "celerant_worker_slots",
            "Tasks that the worker runs at a time.",
            labels=("app", "worker"),
        ),
        core.GaugeMetricFamily(
            "celerant_worker_busy_slots",
            "Tasks that run now.",
            labels=("app", "worker"),
        ),
        core.CounterMetricFamily(
            "celerant_worker_tasks",
            "Tasks that were taken.",
            labels=("app", "worker", "task"),
        ),
    )
