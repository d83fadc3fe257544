"""Send what takes a task's place: its retry, or what replaced it.

A task only says what is to come, and its worker sends it once the function has
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
    """Send what the task asked for; return what came of it in all.

    A retry that cannot be sent rejects the task, as Celery has it; a replacement
    that cannot be sent fails it.
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
    # What came from a child has lost its app.
    if successor._app is not None:  # noqa: SLF001 - a canvas says nothing else of it
        return successor
    return signature(dict(successor), app=task.app)


def _unsent(outcome: Outcome, exc: Exception) -> Outcome:
    if outcome.state == IGNORED:
        return failure(exc, outcome.runtime)
    return Outcome(
        REJECTED, exception=Reject(exc, requeue=False), runtime=outcome.runtime
    )


def pack_successors(request: Request, outcome: Outcome) -> tuple[bytes | None, Outcome]:
    """Return the successors as bytes, and the outcome: another where they are none."""
    if not request.successors:
        return None, outcome
    try:
        # Not by the task's serializer: what that refuses is told where it is sent.
        return pickle.dumps(request.successors), outcome
    except Exception as exc:  # noqa: BLE001 - reducers raise what they like
        return None, _unsent(outcome, exc)


def unpack_successors(packed: bytes | None) -> list[Any]:
    """Return the successors that a child of ours packed."""
    if packed is None:
        return []
    found: list[Any] = pickle.loads(packed)  # noqa: S301 - made by our own child
    return found
