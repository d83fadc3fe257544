"""Send a task's successor: its retry or its replacement.

A task only names the successor, and its worker sends it when the function has
ended: the broker of a process pool may be memory that its children do not share.
"""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

from celerant.canvas.signature import signature
from celerant.context.request import current_request
from celerant.errors import Reject
from celerant.running.trace import Outcome, failure
from celerant.tasks.control_flow import IGNORED, REJECTED

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["pack_successors", "send_successors", "unpack_successors"]

logger = logging.getLogger("celerant.worker")


def send_successors(request: Request, task: Any, outcome: Outcome) -> Outcome:
    """Send the successor that the task asked for; return the final outcome.

    As in Celery, a retry that cannot be sent rejects the task. A replacement that
    cannot be sent fails it.
    """
    successors, request.successors = request.successors, []
    token = current_request.set(request)
    try:
        for successor in successors:
            _of(task, successor).apply_async()
    except Exception as exc:
        logger.exception(
            "what takes the place of task %s[%s] cannot be sent",
            request.task,
            request.id,
        )
        return _unsent(outcome, exc)
    finally:
        current_request.reset(token)
    return outcome


def _of(task: Any, successor: Any) -> Any:
    # A successor from a child process has lost its app.
    if successor._app is not None:  # noqa: SLF001 - a canvas does not tell more
        return successor
    return signature(dict(successor), app=task.app)


def _unsent(outcome: Outcome, exc: Exception) -> Outcome:
    if outcome.state == IGNORED:
        return failure(exc, outcome.runtime)
    return Outcome(
        REJECTED, exception=Reject(exc, requeue=False), runtime=outcome.runtime
    )


def pack_successors(request: Request, outcome: Outcome) -> tuple[bytes | None, Outcome]:
    """Return the successors as bytes, and the outcome, which may change for it."""
    if not request.successors:
        return None, outcome
    try:
        # Not by the task's serializer: its refusals are raised at the send.
        return pickle.dumps(request.successors), outcome
    except Exception as exc:  # noqa: BLE001 - reducers raise what they like
        return None, _unsent(outcome, exc)


def unpack_successors(packed: bytes | None) -> list[Any]:
    """Return the successors that a child of ours packed."""
    if packed is None:
        return []
    found: list[Any] = pickle.loads(packed)  # noqa: S301 - made by our own child
    return found
