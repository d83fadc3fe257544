"""Check that workers run, know the app's tasks and consume its queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerant.app.task_queues import own_tasks, queues_of_tasks
from celerant.common.printable import line
from celerant.common.urls import transport
from celerant.doctor import places
from celerant.doctor.finding import Finding, ok, problem, warning
from celerant.doctor.settings import REDIS, visibility

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["check"]

#: A worker's name, and what it has told.
_Answer = tuple[str, Any]

_MOST = 5


def check(app: Celerant, timeout: float) -> Iterator[Finding]:
    """Ask the workers on the app's broker."""

    def asked(command: str, **arguments: Any) -> list[_Answer]:
        told = app.control.broadcast(command, arguments, reply=True, timeout=timeout)
        return [
            (str(worker), answer)
            for one in told
            if isinstance(one, Mapping)
            for worker, answer in one.items()
        ]

    queues = asked("active_queues")
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
    names = Counter(worker for worker, _ in queues)
    yield ok("workers", f"{len(queues)} answer: {_listed(sorted(names))}")
    yield from _of_one_name(names)
    yield from _unserved(app, queues)
    yield from _unknown(app, asked("registered", taskinfoitems=()))
    confs = asked("conf", with_defaults=True)
    yield from places.check(app, confs, lambda: asked("report"))
    if transport(app.conf.broker_url) in REDIS:
        yield from _far_etas(app, asked("scheduled"))


def _of_one_name(names: Counter[str]) -> Iterator[Finding]:
    for name, count in sorted(names.items()):
        if count > 1:
            yield warning(
                "workers",
                f"{count} workers are named {line(name)}",
                "give each a name of its own (--hostname, -n, or "
                "app.worker(hostname=...)): monitors and remote control take them for "
                "one, and on RabbitMQ a command reaches one of them only",
            )


def _unserved(app: Celerant, queues: list[_Answer]) -> Iterator[Finding]:
    served = {
        queue["name"]: worker
        for worker, of_worker in queues
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


def _unknown(app: Celerant, registered: list[_Answer]) -> Iterator[Finding]:
    # A task with such fields is told as "name [field=value]".
    known = [
        {str(task).partition(" ")[0] for task in tasks or ()} for _, tasks in registered
    ]
    nowhere, somewhere = [], []
    for name in sorted(own_tasks(app)):
        lacking = sum(name not in tasks for tasks in known)
        if known and lacking == len(known):
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


def _far_etas(app: Celerant, scheduled: list[_Answer]) -> Iterator[Finding]:
    seconds, now = visibility(app), datetime.now(timezone.utc)
    far = 0
    for _, of_worker in scheduled:
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
