"""Check settings that do not fit together, without any server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celerant.app.task_queues import own_tasks
from celerant.common.urls import masked, transport
from celerant.config.default_backend import backend_url
from celerant.doctor.finding import Finding, note, ok, problem, warning

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["REDIS", "VISIBILITY", "check", "visibility"]

REDIS = frozenset({"redis", "rediss", "redis+socket", "sentinel"})
#: kombu's default of ``visibility_timeout`` in seconds.
VISIBILITY = 3600.0


def check(app: Celerant) -> Iterator[Finding]:
    """Check an app's settings and tasks."""
    app.import_tasks()
    tasks = own_tasks(app)
    shown = f"app {app.name}: broker {masked(app.conf.broker_url)}, results "
    yield ok("settings", shown + masked(backend_url(app.conf) or "nowhere"))
    if not tasks:
        yield warning(
            "settings",
            "the app knows no tasks",
            "import the modules that define them: set `imports`, or call "
            "app.autodiscover_tasks([...])",
        )
    else:
        yield ok("settings", f"the app knows {len(tasks)} tasks")
    if app.conf.task_always_eager:
        yield warning(
            "settings",
            "task_always_eager is on: tasks run in the caller and nothing is sent",
            "set it for tests only",
        )
    if app.conf.celerant_index_groups and not app.backend.keeps_index:
        yield problem(
            "settings",
            "celerant_index_groups is on, and the store of results keeps no index: "
            "every group is refused",
            "set result_backend to a redis:// URL, or turn the setting off",
        )
    silent = sorted(name for name, task in tasks.items() if task.ignore_result)
    if silent:
        yield note(
            "settings",
            f"{_listed(silent)}: ignore_result is set, so get() gives None at once",
            "leave it out for tasks whose results you wait for",
        )
    if transport(app.conf.broker_url) in REDIS:
        yield from _against_visibility(app, tasks)


def _against_visibility(app: Celerant, tasks: dict[str, Any]) -> Iterator[Finding]:
    seconds = visibility(app)
    found = False
    remedy = (
        "set broker_transport_options={'visibility_timeout': seconds} above it, for "
        "all apps and workers on this broker"
    )
    for name, task in sorted(tasks.items()):
        pauses = [task.default_retry_delay or 0]
        if getattr(task, "retry_backoff", False):
            pauses.append(getattr(task, "retry_backoff_max", 0) or 0)
        if max(pauses) > seconds:
            found = True
            text = (
                f"{name} waits up to {max(pauses):g} s for its next try; Redis gives "
                f"its message to another worker after {seconds:g} s, so that it runs "
                "twice"
            )
            yield warning("visibility", text, remedy)
        if task.acks_late and (task.time_limit or 0) > seconds:
            found = True
            text = (
                f"{name} may run for {task.time_limit:g} s with late acks; Redis gives "
                f"its message to another worker after {seconds:g} s"
            )
            yield warning("visibility", text, remedy)
    if not found:
        text = f"visibility_timeout is {seconds:g} s; no task waits or runs for longer"
        yield ok("visibility", f"{text}, as far as its options tell")


def visibility(app: Celerant) -> float:
    """Return the seconds after which Redis gives a message to another worker."""
    options = app.conf.broker_transport_options or {}
    return float(options.get("visibility_timeout") or VISIBILITY)


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
