"""The fields of a task's stored record besides its value."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from celerant.results.base import Result
from celerant.results.tree import result_from_tuple

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend

__all__ = ["Recorded", "fields", "traceback_in"]

T = TypeVar("T")


class Recorded(Result):
    """The part of a task's result that reads its record at each access."""

    __slots__ = ()

    def record(self) -> dict[str, Any]:
        """Return the fields of the stored record; ``{}`` if there is none."""
        return fields(self.backend, self.backend.read(self.id))

    def sent_in(self, record: dict[str, Any]) -> list[Any]:
        """Return the results of the tasks that this one has sent, from its record."""
        found = []
        for form in _of(list, record.get("children")) or ():
            # A record may hold anything.
            with contextlib.suppress(TypeError, ValueError, RecursionError):
                child = result_from_tuple(form, self.backend)
                if child is not None:
                    found.append(child)
        return found

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this one has sent, next steps included.

        Reads the record.
        """
        return self.sent_in(self.record())

    def exists(self) -> bool:
        """Whether the task has a record, in any state."""
        return self.backend.read(self.id) is not None

    @property
    def date_done(self) -> datetime | None:
        """The time at which the task was done; reads the record."""
        said = self.record().get("date_done")
        if isinstance(said, str):
            # Python 3.10 reads no final Z.
            return datetime.fromisoformat(said.replace("Z", "+00:00"))
        return _of(datetime, said)

    @property
    def name(self) -> str | None:
        """The task's name; needs ``result_extended``, reads the record."""
        return _of(str, self.record().get("name"))

    @property
    def args(self) -> list[Any] | tuple[Any, ...] | None:
        """The task's arguments; needs ``result_extended``, reads the record."""
        args = self.record().get("args")
        # A serializer such as pickle keeps tuples.
        return args if isinstance(args, tuple) else _of(list, args)

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The task's keyword arguments; needs ``result_extended``, reads the record."""
        return _of(dict, self.record().get("kwargs"))

    @property
    def worker(self) -> str | None:
        """The worker that ran it; needs ``result_extended``, reads the record."""
        return _of(str, self.record().get("worker"))

    @property
    def retries(self) -> int | None:
        """How often it was retried; needs ``result_extended``, reads the record."""
        return _of(int, self.record().get("retries"))

    @property
    def queue(self) -> str | None:
        """The queue it was sent to; needs ``result_extended``, reads the record."""
        return _of(str, self.record().get("queue"))


def fields(backend: Backend, record: bytes | None) -> dict[str, Any]:
    """Return a record's fields; ``{}`` if it cannot be read."""
    try:
        return backend.decode(record)
    except Exception:  # noqa: BLE001 - a serializer may raise anything
        return {}


def traceback_in(record: dict[str, Any]) -> str | None:
    """Return the traceback in a record's fields, if there is one."""
    return _of(str, record.get("traceback"))


def _of(kind: type[T], value: Any) -> T | None:
    return value if isinstance(value, kind) else None
