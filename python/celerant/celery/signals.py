"""Celery's signals of sends: the receivers of a task, and sending without them."""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

from celery import signals

from celerant.celery.functions import bare

__all__ = ["can_retell", "receivers", "retold"]

#: All signals that are sent for each message.
_PUBLISHING = (
    signals.before_task_publish,
    signals.after_task_publish,
    signals.task_sent,
)

#: The cells of `AMQP.send_task_message`, a closure, that keep the signals.
_BEFORE, _AFTER, _SENT = "send_before_publish", "send_after_publish", "sent_receivers"
#: Before Celery 5.7 they keep the receivers too.
_ARE_BEFORE, _ARE_AFTER = "before_receivers", "after_receivers"


def receivers(name: str) -> list[Any]:
    """Return the receivers of the task `name`."""
    return [
        receiver
        for signal in _PUBLISHING
        if signal.receivers
        for receiver in signal._live_receivers(name)  # noqa: SLF001 - Celery tells only whether there are any
    ]


def can_retell(send_task_message: Any) -> bool:
    """Whether this is a function that `retold` understands."""
    found = bare(send_task_message)
    names = () if found is None else found.__code__.co_freevars
    return {_BEFORE, _AFTER, _SENT} <= set(names)


def retold(send_task_message: Any, hear: Callable[..., None]) -> Callable[..., Any]:
    """Return Celery's function for messages, without a call of receivers.

    Args:
        send_task_message: `AMQP.send_task_message` of an app.
        hear: Called with the arguments of receivers of `before_task_publish`.
    """
    code = send_task_message.__code__
    cells = dict(zip(code.co_freevars, send_task_message.__closure__, strict=True))
    cells[_BEFORE] = CellType(hear)
    cells[_AFTER] = CellType(lambda **_: None)
    cells[_SENT] = CellType(())
    if _ARE_BEFORE in cells:
        # There is a receiver; otherwise it would not be called.
        cells[_ARE_BEFORE] = CellType((None,))
        cells[_ARE_AFTER] = CellType(())
    return FunctionType(
        code,
        send_task_message.__globals__,
        send_task_message.__name__,
        send_task_message.__defaults__,
        tuple(cells[name] for name in code.co_freevars),
    )
