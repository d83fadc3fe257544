"""A task's run on its way to a child process, and the task it is of.

Bytes alone go there, so that no code of arguments runs in the threads that serve the
children.
"""

from __future__ import annotations

import dataclasses
import pickle
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from celerant.context.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pack_job", "unpack_request"]

#: Fields of a request besides its id and its task's name, and those that are most often
#: left at their defaults.
_FIELDS = [f for f in dataclasses.fields(Request) if f.name not in {"id", "task"}]
_NAMES = tuple(field.name for field in _FIELDS)
_values = attrgetter(*_NAMES)
#: What needs not travel, by field: an empty list or dict is made anew.
_DEFAULTS: Sequence[Any] = _values(Request("", ""))


def pack_job(function: Any, reference: bytes, request: Request, *args: Any) -> bytes:
    """Return what `child.run` takes.

    Args:
        function: Of a module; called with the rest.
        reference: The task, pickled.
        request: Of the task.
        args: What else it takes.

    Raises:
        Exception: Something in it cannot be pickled.
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
    """Return the request that a job has."""
    task_id, task, fields = packed
    return Request(task_id, task, **fields)
