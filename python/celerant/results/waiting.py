"""What waits: the time left, and where waiting is not allowed."""

from __future__ import annotations

import time

from celerant.canvas.request import current_request

__all__ = ["deadline_after", "refuse_inside_task"]


def deadline_after(timeout: float | None) -> float | None:
    """Return the monotonic time `timeout` seconds from now; None for never."""
    return None if timeout is None else time.monotonic() + timeout


def refuse_inside_task(*, is_refused: bool) -> None:
    """Refuse to wait inside a task: workers that wait for workers can all be waiting.

    Raises:
        RuntimeError: A task runs here and `is_refused` holds.
    """
    request = current_request.get() if is_refused else None
    if request is not None:
        msg = (
            f"get() called inside task {request.task}[{request.id}]: a worker that "
            "waits for others may wait for itself; link tasks instead, or pass "
            "disable_sync_subtasks=False"
        )
        raise RuntimeError(msg)
