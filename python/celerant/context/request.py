"""The request that a task runs under, and the current one."""

from __future__ import annotations

import dataclasses
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

__all__ = ["Request", "current_request", "direct_request", "enter", "own_request"]


#: Headers of dead-lettered messages. If they were sent along, RabbitMQ would see a
#: cycle.
_DEATH_HEADERS = frozenset(
    {
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)


@dataclass
class Request:
    """The fields of a task's message, under Celery's names.

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
    #: The process whose memory the message was in; 0 if a broker had it.
    memory_pid: int = 0
    #: Forms of the results of tasks that this task sent, as records store them.
    children: list[Any] = field(default_factory=list)
    #: Calls that the worker sends instead of this one: retries and replacements.
    successors: list[Any] = field(default_factory=list)
    #: Whether the task was called as a function, so that this is no message's request.
    called_directly: bool = False
    #: Whether the task's function has begun: calls of it from now on are direct.
    is_entered: bool = False
    #: The last `max_retries` given to `self.retry`; it overrules the task's option.
    max_retries: int | None = None
    #: The message's, as kombu gives them; None if there was no message.
    properties: dict[str, Any] | None = None
    #: The arguments as the sender wrote them for people.
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    logfile: str | None = None
    loglevel: int | None = None

    #: Celery's field of older messages, which these never set.
    utc: ClassVar[bool | None] = None
    #: The sender's language: no other speaks this protocol to us.
    lang: ClassVar[str] = "py"

    @property
    def taskset(self) -> str | None:
        """The group's id under its oldest name."""
        return self.group

    @property
    def time_limit(self) -> float | None:
        """Seconds until the task is killed."""
        return self.timelimit[0]

    @property
    def soft_time_limit(self) -> float | None:
        """Seconds until the task gets a SoftTimeLimitExceeded."""
        return self.timelimit[1]

    if not TYPE_CHECKING:

        def __init__(self, id, task, args=(), kwargs=None, **fields) -> None:  # noqa: A002, ANN001, ANN003 - typed by the fields
            # What dataclasses write sets all fields, which takes four times as long:
            # most are the class's own.
            fields.update(
                id=id, task=task, args=args, kwargs={} if kwargs is None else kwargs
            )
            self.__dict__.update(_fresh(fields))

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> Request:
        """Return the request that has the fields that the core has read.

        They have those that no two requests may share. The request keeps the dict.
        """
        request = cls.__new__(cls)
        request.__dict__ = fields
        return request

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field or a header of this name, as Celery's request does."""
        return getattr(self, name, default)

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options with which the same call would be sent again."""
        hard, soft = self.timelimit or (None, None)
        headers = {k: v for k, v in self.headers.items() if k not in _DEATH_HEADERS}
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamped_headers is not None:
            stamped = self.stamped_headers
            options["stamped_headers"] = stamped
            options.update((k, v) for k, v in self.stamps.items() if k in stamped)
        return options

    def update(self, *fields: Any, **more: Any) -> None:
        """Set fields, as a dict's `update`; other names become headers."""
        known = {one.name for one in dataclasses.fields(self)}
        for name, value in dict(*fields, **more).items():
            if name in known:
                setattr(self, name, value)
            else:
                self.headers[name] = value

    def clear(self) -> None:
        """Set all fields to their values without a message."""
        empty = direct_request("")
        for one in dataclasses.fields(self):
            setattr(self, one.name, getattr(empty, one.name))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # The user's own headers are fields of Celery's request too.
            if not name.startswith("_") and name != "headers" and name in self.headers:
                return self.headers[name]
            msg = f"a task's request has no field and no header {name!r}"
            raise AttributeError(msg)


def _fresh(fields: dict[str, Any]) -> dict[str, Any]:
    """Add the fields that no two requests may share."""
    fields.setdefault("delivery_info", {})
    fields.setdefault("headers", {})
    fields.setdefault("stamps", {})
    fields.setdefault("children", [])
    fields.setdefault("successors", [])
    return fields


_NO_KWARGS: Mapping[str, Any] = MappingProxyType({})

#: The request of the task that runs in this thread or context; None outside of tasks.
current_request: ContextVar[Request | None] = ContextVar(
    "celerant_request", default=None
)

#: The request of the running task. It differs from the current one if a task was
#: called as a function: its messages still belong to the running task.
own_request: ContextVar[Request | None] = ContextVar(
    "celerant_own_request", default=None
)


def direct_request(
    name: str, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = _NO_KWARGS
) -> Request:
    """Return the request of a task that is called as a function: it has no id."""
    no_id: Any = None  # typed as text: tasks that run all have one
    return Request(no_id, name, args, dict(kwargs), called_directly=True)


def enter(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Token[Request | None]:
    """Begin a call of a task's function; the token resets `own_request`.

    The first call of the current request's task is the worker's; any other one is
    a plain call of a function.
    """
    request = current_request.get()
    if request is None or request.is_entered or request.task != name:
        request = direct_request(name, args, kwargs)
    else:
        request.is_entered = True
    return own_request.set(request)
