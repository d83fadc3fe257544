"""The exit codes of all commands."""

from __future__ import annotations

from celerant.errors import CelerantError, PublishError

__all__ = ["FAILED", "INTERRUPTED", "PENDING", "UNREACHABLE", "USAGE", "is_unreachable"]

#: A member failed, the broker refused a message, or `doctor` found a problem.
FAILED = 1
#: The command line is wrong: there is no such app, handle, queue or option.
USAGE = 2
#: The broker or the result store does not answer.
UNREACHABLE = 3
#: The group or task is not done, and the time to wait has passed.
PENDING = 4
#: Ctrl-C was pressed; shells use this code.
INTERRUPTED = 130

_SERVERS = frozenset({"amqp", "kombu", "redis"})
_AWAY = frozenset({"ConnectionError", "OperationalError", "TimeoutError"})


def is_unreachable(exc: BaseException | None) -> bool:
    """Whether an error or its cause says that a server does not answer."""
    while exc is not None:
        if isinstance(exc, PublishError) and exc.recoverable:
            return True
        is_own = isinstance(exc, CelerantError)
        if isinstance(exc, OSError) and not is_own:
            return True
        # By the names of classes, because redis-py and py-amqp may not be installed.
        for cls in type(exc).__mro__:
            package = cls.__module__.partition(".")[0]
            if package in _SERVERS and cls.__name__ in _AWAY:
                return True
        exc = exc.__cause__
    return False
