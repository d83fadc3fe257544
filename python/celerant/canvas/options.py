"""How a canvas may be sent: the options of a call, with their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import os
    from datetime import datetime

    from kombu import Exchange, Queue

    from celerant.canvas.base import Canvas

__all__ = ["ApplyOptions", "GroupOptions", "MessageOptions", "SendOptions"]


class MessageOptions(TypedDict, total=False):
    """The options of a call, without those that say when it runs."""

    # The end of its time, and its queue.
    #: Seconds from now, or a moment after which the task does not run.
    expires: float | datetime | str | None
    queue: str | Queue | None
    exchange: str | Exchange | None
    exchange_type: str | None
    routing_key: str | None
    priority: int | None

    # Callbacks.
    link: Canvas[Any] | Mapping[str, Any] | Sequence[Any] | None
    link_error: Canvas[Any] | Mapping[str, Any] | Sequence[Any] | None

    # How it runs.
    #: Seconds until the task is ended.
    time_limit: float | None
    #: Seconds until the task gets a `SoftTimeLimitExceeded`.
    soft_time_limit: float | None
    ignore_result: bool | None
    retries: int | None

    # Names.
    task_id: str | None
    #: The task's name in logs.
    shadow: str | None
    argsrepr: str | None
    kwargsrepr: str | None
    origin: str | None

    # How the message is written and sent.
    serializer: str | None
    compression: str | None
    headers: Mapping[str, Any] | None
    stamped_headers: Sequence[str] | None
    delivery_mode: int | str | None
    mandatory: bool | None
    immediate: bool | None
    retry: bool | None
    retry_policy: Mapping[str, Any] | None
    #: Seconds for one message, if Celery's own path sends it.
    timeout: float | None
    confirm_timeout: float | None
    declare: Sequence[Any] | None
    #: A kombu producer of the caller's; `publisher` is its older name.
    producer: Any
    publisher: Any
    #: A kombu connection of the caller's.
    connection: Any

    # The canvas around it; set by canvases and workers.
    add_to_parent: bool | None
    chain: Sequence[Any] | None
    chord: Mapping[str, Any] | None
    group_id: str | None
    group_index: int | None
    parent_id: str | None
    root_id: str | None
    replaced_task_nesting: int | None
    reply_to: str | None
    route_name: str | None

    # Properties of the message.
    app_id: str | None
    cluster_id: str | None
    correlation_id: str | None
    message_id: str | None
    timestamp: Any
    type: str | None
    user_id: str | None
    #: Seconds that the broker keeps the message.
    expiration: float | None
    #: Others, by name.
    properties: Mapping[str, Any] | None
    # SQS's.
    MessageGroupId: str | None
    MessageDeduplicationId: str | None
    DelaySeconds: int | None
    delay_seconds: int | None
    message_attributes: Mapping[str, Any] | None


class SendOptions(MessageOptions, total=False):
    """The options of `apply_async`; None is as if an option were not given.

    Source: ``apply_async``, ``send_task`` and ``send_task_message`` of celery 5.7.0.
    """

    #: Seconds from now.
    countdown: float | None
    #: A moment; text is ISO 8601.
    eta: datetime | str | None


class GroupOptions(SendOptions, total=False):
    """What `apply_async` of a group takes beside the arguments."""

    #: How many unfinished members may be in the broker. The call returns at once, and
    #: the others leave as members finish, from a thread of the group's own.
    window: int | None
    #: How many leave first, alone: a count, or a share of a list. The others leave once
    #: these are done, unless too many of them failed.
    canary: float | None
    #: More failures than that stop the feeding: a count, or a share of those done (of
    #: the canary's, or of a hundred, while fewer are done). With a canary and without
    #: this one failure does.
    stop_if: float | None
    #: Whether `cancel` finds members by a stamp, and not by their ids; groups
    #: with one of the above, and those of async iterables, always have it.
    cancellable: bool | None
    #: Where it is kept what has left, so that `group.resume` sends exactly the rest
    #: after this process was killed: the path of a file, or True: in Redis, which is
    #: the broker.
    journal: str | os.PathLike[str] | bool | None


class ApplyOptions(SendOptions, total=False):
    """The options of `apply`, which runs the canvas here."""

    #: Raise the exception of a task; None: as ``task_eager_propagates`` says.
    throw: bool | None
    #: Fields of the request.
    logfile: str | None
    loglevel: int | None
