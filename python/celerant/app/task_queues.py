"""The queues that an app's own tasks go to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.tasks.builtins import is_builtin

if TYPE_CHECKING:
    from celerant.app.app import Celerant

__all__ = ["own_tasks", "queues_of_tasks"]


def own_tasks(app: Celerant) -> dict[str, Any]:
    """Return the tasks of the app's user, by name."""
    return {name: task for name, task in app.tasks.items() if not is_builtin(task)}


def queues_of_tasks(app: Celerant) -> dict[str, Any]:
    """Return the queues of the settings, and those that the tasks go to, by name.

    A queue that only a call names, or a route that looks at arguments, is not among
    them.
    """
    queues, router = app.routes()
    wanted = {name: queues[name] for name in queues.declared}
    for name, task in own_tasks(app).items():
        options = {"queue": task.queue} if getattr(task, "queue", None) else {}
        try:
            queue = router.route(options, name, (), {}, task).get("queue")
        except Exception:  # noqa: BLE001 - a route that needs the arguments of a call
            queue = None
        if queue is not None:
            wanted[queue.name] = queue
    return wanted
