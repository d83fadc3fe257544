"""Pack a task and its request as bytes for a child process.

The child unpickles the bytes in its main thread, so code of arguments runs in no
thread that serves children.
"""

from __future__ import annotations

import dataclasses
import pickle
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant.context.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Terms", "pack_job", "unpack_request"]

#: Fields of a request besides its id and its task's name; most keep their defaults.
_FIELDS = [f for f in dataclasses.fields(Request) if f.name not in {"id", "task"}]
_NAMES = tuple(field.name for field in _FIELDS)
_values = attrgetter(*_NAMES)
#: The defaults of these fields, which need not travel.
_DEFAULTS: Sequence[Any] = _values(Request("", ""))


class Terms(NamedTuple):
    """What a child process must know of a run besides the task and its request."""

    #: Name of the serializer of results.
    serializer: str
    #: Seconds after which the task gets a SoftTimeLimitExceeded; None is without limit.
    soft_limit: float | None = None
    #: Whether the child stores the state STARTED.
    stores_started: bool = False
    #: Whether a log or an event shows the task's value.
    shows_value: bool = True


def pack_job(function: Any, reference: bytes, request: Request, *args: Any) -> bytes:
    """Return a job for `child.run`.

    Args:
        function: A module's function; called with the reference, the packed request
            and `args`.
        reference: The task, pickled.
        request: The task's request.
        args: More arguments of the function.

    Raises:
        Exception: An argument cannot be pickled.
    """
    fields = {
        name: value
        for name, value, default in zip(
            _NAMES, _values(request), _DEFAULTS, strict=True
        )
        if value is not default and (value or type(value) is not type(default))
    }
    packed = request.id, request.task, fields
    return pickle.dumps((function, (reference, packed, *args)))


def unpack_request(packed: tuple[str, str, dict[str, Any]]) -> Request:
    """Return the request that `pack_job` packed."""
    task_id, task, fields = packed
    return Request(task_id, task, **fields)
