"""The exit codes of all commands."""

from __future__ import annotations

import errno
import socket
import ssl

from celerant.common.clients import is_of_client
from celerant.errors import CelerantError, PublishError

__all__ = ["FAILED", "INTERRUPTED", "PENDING", "UNREACHABLE", "USAGE", "is_unreachable"]

#: A member failed, the broker refused a message, or `doctor` found a problem.
FAILED = 1
#: The command line is wrong: there is no such app, handle, queue or option.
USAGE = 2
#: The broker or the result store does not answer; to `doctor` that is a problem.
UNREACHABLE = 3
#: The group or task is not done, and the time to wait has passed.
PENDING = 4
#: Ctrl-C was pressed; shells use this code.
INTERRUPTED = 130

_AWAY = frozenset({"ConnectionError", "OperationalError", "TimeoutError"})
#: Python's own classes of errors of a connection.
_OF_NETWORK = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    socket.herror,
    ssl.SSLError,
)
#: Numbers of errors of a network; Windows has others beside them.
_NUMBERS = frozenset(
    getattr(errno, prefix + name)
    for name in (
        "EADDRNOTAVAIL",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETRESET",
        "ENETUNREACH",
        "ENOTCONN",
        "ETIMEDOUT",
    )
    for prefix in ("", "WSA")
    if hasattr(errno, prefix + name)
)


def is_unreachable(exc: BaseException | None) -> bool:
    """Whether an error or its cause says that a server does not answer."""
    while exc is not None:
        if isinstance(exc, PublishError):
            # Its cause may be an error of the user's code that gave the members.
            return exc.recoverable
        is_own = isinstance(exc, CelerantError)
        if isinstance(exc, OSError) and not is_own and _is_of_network(exc):
            return True
        # By the names of classes, for the same reason as the packages'.
        for cls in type(exc).__mro__:
            if is_of_client(cls.__module__) and cls.__name__ in _AWAY:
                return True
        exc = exc.__cause__
    return False


def _is_of_network(exc: OSError) -> bool:
    if isinstance(exc, _OF_NETWORK) or exc.errno in _NUMBERS:
        return True
    # py-amqp raises a plain one if the server hangs up.
    place = exc.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and is_of_client(
        str(place.tb_frame.f_globals.get("__name__"))
    )
