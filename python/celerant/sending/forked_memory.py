"""A broker in memory, which a forked child does not share with its parent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from celerant.common.urls import scheme
from celerant.context.request import current_request
from celerant.errors import ForkError

if TYPE_CHECKING:
    from celerant.context.host import App

__all__ = ["refuse_forked_memory"]


def refuse_forked_memory(app: App, made_in: int) -> None:
    """Refuse to send through memory that nobody else sees.

    Args:
        app: The app that sends.
        made_in: The process in which it was made.

    Raises:
        ForkError: This is a forked child, of that process or of a worker.
    """
    pid, request = os.getpid(), current_request.get()
    is_of_worker = request is not None and request.memory_pid not in {0, pid}
    if pid == made_in and not is_of_worker:
        return
    if scheme(app.conf.broker_write_url) != "memory":
        return
    if pid != made_in:
        msg = (
            f"app {app.name!r} sends through memory of process {made_in}, which "
            f"its forked child {pid} does not share; use a broker, or make "
            "the app after the fork"
        )
        raise ForkError(msg, created_in_pid=made_in)
    if request is not None:
        msg = (
            f"task {request.task} runs in child process {pid} of the "
            f"worker in process {request.memory_pid}; what it sends through "
            f"memory:// of app {app.name!r} would never leave the child: use a "
            "broker such as redis://, or pool='threads'"
        )
        raise ForkError(msg, created_in_pid=request.memory_pid)
