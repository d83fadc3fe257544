"""Store a running task's own state: `self.update_state`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celerant.common.urls import scheme
from celerant.config.default_backend import backend_url
from celerant.errors import ForkError

if TYPE_CHECKING:
    from celerant.tasks.task import Task

__all__ = ["refuse_lost_memory", "store_state"]


def store_state(
    task: Task[Any, Any], task_id: str | None, state: str | None, meta: Any
) -> None:
    """Store a state and its data.

    Raises:
        ValueError: There is no state, or no task to store it for.
        ForkError: Results are in the memory of another process.
    """
    request = task.request
    if not isinstance(state, str) or not state:
        msg = f"task {task.name}: state must be text such as 'PROGRESS', not {state!r}"
        raise ValueError(msg)
    task_id = task_id or request.id
    if not task_id:
        msg = f"task {task.name} does not run, so there is no id: give task_id="
        raise ValueError(msg)
    refuse_lost_memory(task)
    task.app.backend.store_result(task_id, meta, state, request=request)


def refuse_lost_memory(task: Task[Any, Any]) -> None:
    """Refuse to store if results are in the parent process's memory.

    Raises:
        ForkError: They are.
    """
    owner = task.request.memory_pid
    url = backend_url(task.app.conf)
    if owner in {0, os.getpid()} or url is None or scheme(url) != "memory":
        return
    msg = (
        f"task {task.name} runs in child process {os.getpid()}; what it stores in "
        f"memory:// would never reach the worker in process {owner}: use a result "
        "backend such as redis://, or pool='threads'"
    )
    raise ForkError(msg, created_in_pid=owner)
