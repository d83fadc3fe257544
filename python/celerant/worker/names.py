"""The names of a worker's queues and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celerant.context.host import App

__all__ = ["own_tasks", "queue_names"]

#: The most names of tasks in a line of the log.
_SHOWN_TASKS = 20


def own_tasks(tasks: Iterable[str]) -> str:
    """Return the names of the users' own tasks as one text."""
    names = sorted(name for name in tasks if not name.startswith("celery."))
    shown = ", ".join(names[:_SHOWN_TASKS])
    more = len(names) - _SHOWN_TASKS
    return f"{shown} and {more} more" if more > 0 else shown or "none"


def queue_names(app: App, queues: Iterable[str] | str | None) -> list[str]:
    """Return the names of the queues to consume, with aliases resolved."""
    if queues is None:
        return list(app.queues.declared)
    if isinstance(queues, str):
        queues = filter(None, map(str.strip, queues.split(",")))
    return list(dict.fromkeys(app.queues[name].name for name in queues))
