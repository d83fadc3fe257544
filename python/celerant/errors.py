"""What Celerant raises.

CelerantError(Exception)
├─ CanvasError(ValueError)      a canvas that cannot be sent: cycle, size, used twice
├─ EncodeError(TypeError)       an argument that the serializer does not take
├─ SettingError(ValueError)     an unknown or impossible setting or option
├─ PublishError                 the broker refused or vanished
├─ NotSent                      a member that never left; what `get` raises for it
├─ TaskError                    what a task raised, where its class is not at hand
│  └─ ChordError                a member of a chord's header failed
├─ SoftTimeLimitExceeded        what a task gets that runs longer than it should
├─ TaskRevoked                  a task was revoked before it ran to its end
├─ MaxRetriesExceeded           a task was retried too often
├─ ResultExpired                a result was stored, and its time is over
├─ ResultTimeout(TimeoutError)  not all results arrived in time
├─ BarrierError(RuntimeError)   an unknown member, or use after seal
└─ ForkError(RuntimeError)      used in a forked child where that cannot work
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerant.dispatch.report import Report
    from celerant.results.group_result import GroupResult

__all__ = [
    "BarrierError",
    "CanvasError",
    "CelerantError",
    "ChordError",
    "EncodeError",
    "ForkError",
    "MaxRetriesExceeded",
    "NotSent",
    "PublishError",
    "ResultExpired",
    "ResultTimeout",
    "SettingError",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskRevoked",
]


class CelerantError(Exception):
    """The root of all errors that Celerant raises itself.

    Keyword arguments become attributes and survive pickling.
    """

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.__dict__.update(fields)


class CanvasError(CelerantError, ValueError):
    """The canvas cannot be sent as it is; nothing of it was."""

    #: Where in the canvas, e.g. ``group[3][0]``.
    path: str = ""


class EncodeError(CelerantError, TypeError):
    """An argument is not representable in the task's serializer."""

    #: Name of the task.
    task: str = ""
    #: Position of the member after unrolling.
    group_index: int | None = None
    #: Where in the canvas, e.g. ``group[3]``.
    path: str = ""
    #: Name of the type that was refused, where it is known.
    value_type: str = ""


class SettingError(CelerantError, ValueError):
    """A setting or option that does not exist or cannot have this value."""

    #: The name as given.
    name: str = ""
    #: The known name that is nearest to it, if any is near.
    nearest: str | None = None


class PublishError(CelerantError):
    """The broker refused or vanished, and the retry policy is spent.

    ``__cause__`` is the transport's own error.
    """

    #: What was sent and what was not; pass it to ``group.resume``.
    result: GroupResult[Any] | None = None
    #: Which members are confirmed, rejected, unknown and unsent.
    report: Report | None = None
    #: Whether sending the rest may succeed later without a change.
    recoverable: bool = True


class NotSent(CelerantError):  # noqa: N818 - the field's name for a state, not a fault of the caller
    """The member never reached the broker."""

    #: Position of the member after unrolling.
    group_index: int | None = None


class TaskError(CelerantError):
    """A task failed with an exception whose class is not at hand here."""

    #: Name of the exception's class, e.g. ``"PaymentRefused"``.
    exc_type: str = ""
    #: Module of the exception's class.
    exc_module: str | None = None
    #: The traceback as the worker saw it.
    remote_traceback: str | None = None


class ChordError(TaskError):
    """A member of a chord's header failed, so its body does not run."""

    #: The id of the member that failed.
    task_id: str | None = None


class SoftTimeLimitExceeded(CelerantError):  # noqa: N818 - Celery's own name
    """The task runs longer than its ``soft_time_limit``; raised inside it."""


class TaskRevoked(CelerantError):  # noqa: N818 - named after the state REVOKED
    """The task was revoked before it ran to its end."""


class MaxRetriesExceeded(CelerantError):  # noqa: N818 - Celery's own name without its suffix
    """The task asked to be retried more often than it may."""


class ResultExpired(CelerantError):  # noqa: N818 - named after what happened to the result
    """The result was stored once, and its time to live is over."""


class ResultTimeout(CelerantError, TimeoutError):  # noqa: N818 - timeouts end in Timeout
    """Not all results arrived in time."""

    #: How many results are still missing.
    remaining: int = 0


class BarrierError(CelerantError, RuntimeError):
    """A barrier was told of a member it does not have, or used after its seal."""


class ForkError(CelerantError, RuntimeError):
    """An object was used in a forked child where that cannot work."""

    #: The process that made the object.
    created_in_pid: int = 0
