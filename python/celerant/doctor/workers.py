"""Check that workers run, know the app's tasks and consume its queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerant.app.task_queues import own_tasks, queues_of_tasks
from celerant.common.printable import line
from celerant.common.urls import masked, transport
from celerant.config.default_backend import backend_url
from celerant.doctor.finding import Finding, ok, problem, warning
from celerant.doctor.settings import REDIS, visibility

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["check"]

_MOST = 5


def check(app: Celerant, timeout: float) -> Iterator[Finding]:
    """Ask the workers on the app's broker."""
    inspect = app.control.inspect(timeout=timeout)
    queues: Mapping[str, Any] | None = inspect.active_queues()
    if not queues:
        if transport(app.conf.broker_url) == "memory":
            # The check of the broker has told it.
            return
        yield problem(
            "workers",
            f"no worker answers within {timeout:g} s",
            "start one: celerant worker -A MODULE:APP, or celery -A MODULE:CELERY_APP "
            "worker; if one runs, it has another broker_url or control_exchange",
        )
        return
    yield ok("workers", f"{len(queues)} answer: {_listed(sorted(queues))}")
    yield from _unserved(app, queues)
    yield from _unknown(app, inspect.registered() or {})
    yield from _stores(app, inspect.conf(with_defaults=True) or {})
    if transport(app.conf.broker_url) in REDIS:
        yield from _far_etas(app, inspect.scheduled() or {})


def _unserved(app: Celerant, queues: Mapping[str, Any]) -> Iterator[Finding]:
    served = {
        queue["name"]: worker
        for worker, of_worker in queues.items()
        for queue in of_worker or ()
        if isinstance(queue, Mapping) and "name" in queue
    }
    for name in queues_of_tasks(app):
        if name in served:
            yield ok("queues", f"queue {name} is consumed by {line(served[name])}")
        else:
            yield problem(
                "queues",
                f"no worker consumes queue {name}, to which this app sends; they "
                f"consume {_listed(sorted(served))}",
                f"start a worker with -Q {name}, or change task_routes, queue= or "
                "task_default_queue",
            )


def _unknown(app: Celerant, registered: Mapping[str, Any]) -> Iterator[Finding]:
    # A task with such fields is told as "name [field=value]".
    known = {
        worker: {str(task).partition(" ")[0] for task in tasks or ()}
        for worker, tasks in registered.items()
    }
    nowhere, somewhere = [], []
    for name in sorted(own_tasks(app)):
        lacking = [worker for worker, tasks in known.items() if name not in tasks]
        if known and len(lacking) == len(known):
            nowhere.append(name)
        elif lacking:
            somewhere.append(name)
    if nowhere:
        yield problem(
            "workers",
            f"no worker knows {_listed(nowhere)}",
            "have the workers import the modules of these tasks (imports, include, "
            "autodiscover_tasks) and restart them; a task of a script is called "
            "__main__.name, which no worker knows",
        )
    if somewhere:
        yield warning(
            "workers",
            f"some workers do not know {_listed(somewhere)}",
            "restart the workers with the new code, or give these tasks a queue that "
            "only the others consume",
        )
    if known and not nowhere and not somewhere:
        yield ok("workers", "all workers know all tasks of this app")


def _stores(app: Celerant, confs: Mapping[str, Any]) -> Iterator[Finding]:
    ours = _place(backend_url(app.conf))
    for worker, conf in sorted(confs.items()):
        told = conf.get("result_backend") if isinstance(conf, Mapping) else None
        # An embedded worker without the setting stores beside its broker, as this app.
        if not told:
            continue
        theirs = _place(str(told))
        if theirs == ours:
            yield ok(
                "store", f"{line(worker)} stores results where they are looked for"
            )
        else:
            yield problem(
                "store",
                f"{line(worker)} stores results on {theirs}, and this app looks for "
                f"them on {ours}",
                "give both the same result_backend",
            )


def _place(url: str | None) -> str:
    """Return where a store is, without user, password and query."""
    shown = masked(url or "disabled://")
    kind, _, rest = shown.partition("://")
    return f"{kind}://{rest.rpartition('@')[2]}".rstrip("/")


def _far_etas(app: Celerant, scheduled: Mapping[str, Any]) -> Iterator[Finding]:
    seconds, now = visibility(app), datetime.now(timezone.utc)
    far = 0
    for of_worker in scheduled.values():
        for one in of_worker or ():
            eta = _eta(one.get("eta") if isinstance(one, Mapping) else None)
            if eta is not None and (eta - now).total_seconds() > seconds:
                far += 1
    if far:
        yield warning(
            "visibility",
            f"{far} tasks wait in workers for an eta later than visibility_timeout "
            f"({seconds:g} s): Redis gives each to another worker before it is due",
            "set broker_transport_options={'visibility_timeout': seconds} above the "
            "longest eta, or keep far etas in a database and send them when due",
        )


def _eta(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        eta = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return eta if eta.tzinfo is not None else eta.replace(tzinfo=timezone.utc)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(line(name) for name in names[:_MOST]) + more
