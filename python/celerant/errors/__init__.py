"""The exceptions of Celerant.

CelerantError(Exception)
├─ CanvasError(ValueError)      a canvas that cannot be sent: cycle, size, used twice
├─ ArgumentError(TypeError)     arguments that the task does not take
├─ EncodeError(TypeError)       an argument that the serializer does not take
├─ HandleError(ValueError)      a text that is no handle of an app on this store
├─ JournalError(ValueError)     a journal that cannot be gone on with, or not from here
├─ ExtraError(ImportError)      a package that only an extra installs is missing
├─ SettingError(ValueError)     an unknown or impossible setting or option
├─ PublishError                 the broker refused or vanished
├─ NotSent                      raised by `get` for a member that never left
├─ TaskError                    an error of a task whose class is not imported
│  ├─ NotRegistered(KeyError)   no task of that name is registered there
│  └─ ChordError                a member of a chord's header failed
├─ TaskRevoked                  a task was revoked before it ran to its end
├─ MaxRetriesExceeded           a task was retried too often
├─ ResultExpired                a result was stored, and its time is over
├─ ResultTimeout(TimeoutError)  not all results arrived in time
├─ IncompleteStream             the sends of a task are not known before its end
├─ BarrierError(RuntimeError)   an unknown member, or use after seal
└─ ForkError(RuntimeError)      used in a forked child, which cannot work

Raised in a task, and not to be handled as an error of the library:

SoftTimeLimitExceeded(Exception)   it runs longer than it should

Control flow of tasks, not errors:

TaskControl(Exception)
├─ Retry                        the task runs again later
├─ Ignore                       nothing is stored, nothing follows
└─ Reject                       the broker is told that the message is refused

Warnings: DuplicateTaskNameWarning(UserWarning), two tasks of one name
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from celerant.errors.report import Report

__all__ = [
    "ArgumentError",
    "BarrierError",
    "CanvasError",
    "CelerantError",
    "ChordError",
    "EncodeError",
    "ExtraError",
    "ForkError",
    "HandleError",
    "Ignore",
    "IncompleteStream",
    "JournalError",
    "MaxRetriesExceeded",
    "MaxRetriesExceededError",
    "NotRegistered",
    "NotSent",
    "PublishError",
    "Reject",
    "ResultExpired",
    "ResultTimeout",
    "Retry",
    "SettingError",
    "SoftTimeLimitExceeded",
    "TaskControl",
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

    #: The path in the canvas, e.g. ``group[3][0]``.
    path: str = ""


class ArgumentError(CelerantError, TypeError):
    """The arguments of a call do not fit the task's parameters."""

    #: Name of the task.
    task: str = ""
    #: Position of the member after unrolling; None outside of a group.
    group_index: int | None = None
    #: The path in the canvas, e.g. ``group[3]``; ``task`` outside of a group.
    path: str = ""


class EncodeError(CelerantError, TypeError):
    """An argument is not representable in the task's serializer."""

    #: Name of the task.
    task: str = ""
    #: Position of the member after unrolling; None outside of a group.
    group_index: int | None = None
    #: The path in the canvas, e.g. ``group[3]``; ``task`` outside of a group.
    path: str = ""
    #: Name of the type that was refused, if it is known.
    value_type: str = ""


class HandleError(CelerantError, ValueError):
    """A text that is no handle, was changed, or was not made on this store."""


class JournalError(CelerantError, ValueError):
    """A journal that is garbled, of another group or app, or that another sender has.

    Nothing is sent by whoever gets it.
    """

    #: The first member that differs from what was sent, e.g. ``group[3]``; empty if it
    #: is not about a member.
    path: str = ""


class ExtraError(CelerantError, ImportError):
    """A package that only an extra installs is missing; the text names the extra.

    `name` is the module that was not found.
    """

    def __init__(
        self,
        message: str = "",
        *,
        name: str | None = None,
        path: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        # Fields of the interpreter's own, which do not live in the `__dict__`.
        self.name, self.path = name, path


class SettingError(CelerantError, ValueError):
    """A setting or option that does not exist or cannot have this value."""

    #: The name as given.
    name: str = ""
    #: The known name that is nearest to it, if any is near.
    nearest: str | None = None
    #: The member whose option it is, e.g. ``group[3]``; ``group`` or ``task`` if the
    #: call gave it; empty for a setting of the app.
    path: str = ""


class PublishError(CelerantError):
    """Members have left, and the rest cannot follow.

    The broker refused or vanished and the retry policy is spent, or a member could
    not be read. ``__cause__`` is the transport's own error, or the member's.
    """

    #: The group's or chord's result, for ``resume``; None for one task.
    result: Any = None
    #: The confirmed, rejected, unknown and unsent members.
    report: Report | None = None
    #: Whether sending the rest may succeed later without a change.
    recoverable: bool = True
    #: The member that could not be read or that the broker refused, e.g. ``group[3]``;
    #: empty if no single one is to blame.
    path: str = ""


class NotSent(CelerantError):  # noqa: N818 - the field's name for a state, not a fault of the caller
    """The member never reached the broker."""

    #: Position of the member after unrolling.
    group_index: int | None = None


class TaskError(CelerantError):
    """A task failed with an exception whose class is not imported here."""

    #: Name of the exception's class, e.g. ``"PaymentRefused"``.
    exc_type: str = ""
    #: Module of the exception's class.
    exc_module: str | None = None
    #: The traceback as the worker saw it.
    remote_traceback: str | None = None


class NotRegistered(TaskError, KeyError):  # noqa: N818 - Celery's own name
    """No task of that name is registered where it was looked up or should have run."""

    exc_type = "NotRegistered"
    exc_module = "celery.exceptions"

    __str__ = Exception.__str__  # not a key's, which quotes it


class ChordError(TaskError):
    """A member of a chord's header failed, so its body does not run."""

    #: The id of the member that failed.
    task_id: str | None = None


class SoftTimeLimitExceeded(Exception):  # noqa: N818 - Celery's own name
    """The task runs longer than its ``soft_time_limit``; raised inside it.

    As in Celery, a task that handles the library's errors does not handle this one.
    """


class TaskRevoked(CelerantError):  # noqa: N818 - named after the state REVOKED
    """The task was revoked before it ran to its end."""


class MaxRetriesExceeded(CelerantError):  # noqa: N818 - Celery's own name without its suffix
    """The task asked to be retried more often than it may."""

    #: The arguments of the run that was asked for.
    task_args: tuple[Any, ...] = ()
    #: Its keyword arguments.
    task_kwargs: Mapping[str, Any] = MappingProxyType({})


#: Celery's name.
MaxRetriesExceededError = MaxRetriesExceeded


class ResultExpired(CelerantError):  # noqa: N818 - named after what happened to the result
    """The result was stored once, and its time to live is over."""


class ResultTimeout(CelerantError, TimeoutError):  # noqa: N818 - timeouts end in Timeout
    """Not all results arrived in time."""

    #: How many results are still missing.
    remaining: int = 0


class IncompleteStream(CelerantError):  # noqa: N818 - Celery's own name
    """A tree of results was followed to a task that is not done."""


class BarrierError(CelerantError, RuntimeError):
    """A barrier was told of a member it does not have, or was used after its seal."""


class ForkError(CelerantError, RuntimeError):
    """An object was used in a forked child, which cannot work."""

    #: The process that made the object.
    created_in_pid: int = 0


class TaskControl(Exception):  # noqa: N818 - control flow, not an error
    """Base of the exceptions by which a task steers its worker."""

    #: Celery's name of the state that the task is in then.
    state = "IGNORED"


class Retry(TaskControl):
    """The task runs again later; raised by `self.retry`.

    Args:
        message: Shown instead of the reason.
        exc: The reason: an exception, or text.
        when: Seconds from now, or a datetime.
        is_eager: Whether the task runs in place.
        sig: The call that replaces this one.
    """

    state = "RETRY"

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        *,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        super().__init__(message, exc, when)
        self.message = message
        self.exc = None if isinstance(exc, str) else exc
        self.excs = exc if isinstance(exc, str) or exc is None else _shown(exc)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig

    def humanize(self) -> str:
        """Return the time of the next run, in words."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        reason = f": {self.excs}" if self.excs else ""
        return f"Retry {self.humanize()}{reason}"


class Ignore(TaskControl):
    """Nothing is stored for this run, and nothing follows it."""


class Replaced(Ignore):
    """The replacement of a task has run in place: the task ends with its value."""

    def __init__(self, value: Any) -> None:
        super().__init__("Replaced by new task")
        self.value = value


class Reject(TaskControl):
    """The broker is told that the message is refused.

    It needs ``acks_late``: otherwise the message is acknowledged by now.

    Args:
        reason: Stored if the message does not come again.
        requeue: Whether the broker delivers it again.
    """

    state = "REJECTED"

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's order
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class DuplicateTaskNameWarning(UserWarning):
    """Two tasks of an app have one name."""


def _shown(exc: BaseException) -> str:
    try:
        return repr(exc)
    except Exception:  # noqa: BLE001 - a hostile `__repr__` changes nothing
        return type(exc).__name__
