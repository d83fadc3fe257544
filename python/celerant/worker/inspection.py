"""Commands of ``celery inspect``; none of them changes the worker.

Source: ``celery.worker.control`` and ``celery.app.utils`` of celery 5.7.0.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import kombu

from celerant._core import build_info, monotonic
from celerant.common.urls import masked
from celerant.worker.worker_state import described

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.panel import Panel

__all__ = ["INSPECTIONS"]

#: Matches the names of settings with secret values: Celery's own pattern.
_HIDDEN = re.compile(
    "API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE|BEAT_DBURI",
    re.IGNORECASE,
)
_MASK = "*" * 8
#: Matches a URL, even one without a scheme that has a password.
_URL = re.compile("://|@")
#: Attributes of a task that ``registered`` shows if they are set.
_TASK_FIELDS = ("exchange", "routing_key", "rate_limit")


def ping(_panel: Panel, **_: Any) -> Any:
    """Answer."""
    return {"ok": "pong"}


def active(panel: Panel, safe: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002 - the command's argument
    """Return the running tasks."""
    return [
        described(request, since, safe=bool(safe))
        for request, since in panel.worker_state.active()
    ]


def reserved(panel: Panel, **_: Any) -> Any:
    """Return the tasks that wait for a slot."""
    return [described(d.request) for d in panel.unstarted() if d.due is None]


def scheduled(panel: Panel, **_: Any) -> Any:
    """Return the tasks that wait for their eta."""
    return [
        {"eta": d.request.eta, "priority": 6, "request": described(d.request)}
        for d in panel.unstarted()
        if d.due is not None
    ]


def query_task(panel: Panel, ids: str | Sequence[str], **_: Any) -> Any:
    """Return the states of the tasks that the worker has."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    found = {}
    for delivery in panel.unstarted():
        request = delivery.request
        if request.id in wanted:
            state = "reserved" if delivery.due is None else "scheduled"
            found[request.id] = [state, described(request)]
    for request, since in panel.worker_state.active():
        if request.id in wanted:
            found[request.id] = ["active", described(request, since)]
    return found


def revoked(panel: Panel, **_: Any) -> Any:
    """Return the revoked ids."""
    return panel.worker_state.revoked.ids()


def registered(
    panel: Panel,
    taskinfoitems: Sequence[str] | None = None,
    builtins: bool = False,  # noqa: FBT001, FBT002 - the command's argument
    **_: Any,
) -> Any:
    """Return the tasks that the worker knows."""
    fields = [
        field
        for field in taskinfoitems or _TASK_FIELDS
        if isinstance(field, str) and not field.startswith("_")
    ]
    tasks = sorted(
        (name, task)
        for name, task in panel.app.tasks.items()
        if builtins or not name.startswith("celery.")
    )
    return [_with_fields(name, task, fields) for name, task in tasks]


def _with_fields(name: str, task: Any, fields: Sequence[str]) -> str:
    values = {field: getattr(task, field, None) for field in fields}
    shown = [f"{field}={value}" for field, value in values.items() if value is not None]
    return f"{name} [{' '.join(shown)}]" if shown else name


def active_queues(panel: Panel, **_: Any) -> Any:
    """Return the queues that the worker consumes."""
    return [queue.as_dict(recurse=True) for queue in panel.source.queues()]


def stats(panel: Panel, **_: Any) -> Any:
    """Return the worker's numbers."""
    about = panel.source.about()
    return {
        "total": panel.worker_state.total(),
        "pid": os.getpid(),
        "clock": str(panel.worker_state.clock),
        "uptime": round(monotonic() - panel.since),
        # URLs of a failover list and the transport's options may have passwords.
        **{name: _shown(name, value) for name, value in about.items()},
        "pool": panel.pool(),
        "rusage": _usage(),
    }


def _usage() -> Any:
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return "N/A"
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        name.removeprefix("ru_"): getattr(used, name)
        for name in dir(used)
        if name.startswith("ru_")
    }


def clock(panel: Panel, **_: Any) -> Any:
    """Return the logical clock."""
    return {"clock": panel.worker_state.clock.value}


def conf(panel: Panel, with_defaults: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002 - the command's argument
    """Return the settings without their secrets."""
    return _settings(panel, with_defaults=bool(with_defaults))


def _settings(panel: Panel, *, with_defaults: bool) -> dict[str, Any]:
    settings = panel.app.conf
    names = settings if with_defaults else settings.changed()
    return {name: _shown(name, settings[name]) for name in names}


def _shown(name: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(key, inner) for key, inner in value.items()}
    if isinstance(name, str) and _HIDDEN.search(name):
        return _MASK
    if isinstance(value, (list, tuple)):
        return [_shown(name, inner) for inner in value]
    return masked(value) if isinstance(value, str) and _URL.search(value) else value


def report(panel: Panel, **_: Any) -> Any:
    """Return versions and settings as one text."""
    version, transport = build_info().get("version"), panel.source.about()["broker"]
    facts = {
        "software": f"celerant {version}, kombu {kombu.__version__}, "
        f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()}",
        "worker": f"{panel.hostname} of app {panel.app.name}",
        "transport": transport.get("transport"),
        **_settings(panel, with_defaults=False),
    }
    return {"ok": "\n".join(f"{name}: {value}" for name, value in facts.items())}


INSPECTIONS: dict[str, Callable[..., Any]] = {
    "ping": ping,
    "active": active,
    "dump_active": active,
    "reserved": reserved,
    "dump_reserved": reserved,
    "scheduled": scheduled,
    "dump_schedule": scheduled,
    "query_task": query_task,
    "revoked": revoked,
    "dump_revoked": revoked,
    "registered": registered,
    "dump_tasks": registered,
    "active_queues": active_queues,
    "stats": stats,
    "clock": clock,
    "conf": conf,
    "dump_conf": conf,
    "report": report,
}
