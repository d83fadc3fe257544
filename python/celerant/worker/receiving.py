"""Signals about messages: received ones, unknown tasks, and refused ones.

Source: ``celery.worker.strategy`` and ``Consumer.on_unknown_task`` and its like, of
celery 5.7.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.foreign import stored_as
from celerant.common.receivers import heard, tell

if TYPE_CHECKING:
    from celerant.worker.message import Delivery
    from celerant.worker.refused import Refused

__all__ = ["Received", "tell_received", "tell_refused"]


class Received:
    """A request with the attributes that it has in Celery's consumer."""

    def __init__(self, delivery: Delivery) -> None:
        self._request = delivery.request
        self.message = delivery.message
        self.task = delivery.task
        self.task_id = delivery.request.id
        #: The name that logs show, which a shadow may change.
        self.name = self.task_name = delivery.request.shadow or delivery.request.task
        #: The task's own name.
        self.type = delivery.request.task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def tell_received(delivery: Delivery, hostname: str | None) -> None:
    """Send ``task_received`` for a message whose task will run here."""
    signals = heard()
    if signals is not None and signals.task_received.receivers:
        tell("task_received", hostname, request=Received(delivery))


def tell_refused(refused: Refused, hostname: str | None) -> None:
    """Send ``task_unknown`` or ``task_rejected`` for a message that cannot run."""
    exc, request = refused.exception, refused.request
    if request is not None and stored_as(type(exc))[0] == "NotRegistered":
        tell(
            "task_unknown",
            hostname,
            message=refused.message,
            exc=exc,
            name=request.task,
            id=request.id,
        )
    else:
        tell("task_rejected", hostname, message=refused.message, exc=exc)
