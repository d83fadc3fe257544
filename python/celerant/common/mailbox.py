"""The mailbox that reaches workers: kombu's pidbox, with Celery's settings."""

from __future__ import annotations

from typing import Any

from kombu.clocks import LamportClock
from kombu.pidbox import Mailbox

__all__ = ["make_mailbox"]


def make_mailbox(conf: Any, clock: LamportClock | None = None) -> Mailbox:
    """Return the mailbox that Celery's own workers and clients use.

    Args:
        conf: The app's settings.
        clock: A worker's, which each message sets; None: one of its own.
    """
    return Mailbox(
        conf.control_exchange or "celery",
        type="fanout",
        clock=clock,
        accept=conf.accept_content,
        serializer=conf.task_serializer,
        queue_ttl=conf.control_queue_ttl or 300.0,
        reply_queue_ttl=conf.control_queue_ttl or 300.0,
        queue_expires=conf.control_queue_expires or 10.0,
        reply_queue_expires=conf.control_queue_expires or 10.0,
    )
