"""The request a task runs under, and which one runs now."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Request", "current_request"]


@dataclass(slots=True)
class Request:
    """What a message says of its task, under Celery's names.

    Source: Celery message protocol 2 as emitted by celery 5.7.0 ``as_task_v2``.
    """

    id: str
    task: str
    args: list[Any] | tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    chord: dict[str, Any] | None = None
    chain: list[dict[str, Any]] | None = None
    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    retries: int = 0
    eta: str | None = None
    expires: str | None = None
    #: (hard, soft), seconds.
    timelimit: tuple[float | None, float | None] = (None, None)
    ignore_result: bool = False
    shadow: str | None = None
    origin: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    hostname: str | None = None
    delivery_info: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] = field(default_factory=dict)
    replaced_task_nesting: int = 0
    is_eager: bool = False
    #: The process whose memory the message was in; 0 where a broker had it.
    memory_pid: int = 0
    #: Results of what this task sent, in the ``as_tuple`` form of stored records.
    children: list[Any] = field(default_factory=list)


#: The request of the task that runs in this thread or context; None outside of tasks.
current_request: ContextVar[Request | None] = ContextVar(
    "celerant_request", default=None
)
