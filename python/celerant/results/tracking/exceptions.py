"""Make a failed task's exception from its record."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from celerant.common import printable as telling
from celerant.common.foreign import is_a, with_cause
from celerant.errors import (
    ChordError,
    Ignore,
    MaxRetriesExceeded,
    NotRegistered,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskError,
    TaskRevoked,
)
from celerant.states import EXCEPTION_STATES, REVOKED

__all__ = ["RemoteTraceback", "add_note", "rebuild", "shown", "with_exception"]

#: Celery's errors, and Celerant's errors that stand for them.
_COUNTERPARTS: dict[tuple[str, str], type[Exception]] = {
    ("billiard.exceptions", "SoftTimeLimitExceeded"): SoftTimeLimitExceeded,
    ("celery.exceptions", "ChordError"): ChordError,
    ("celery.exceptions", "Ignore"): Ignore,
    ("celery.exceptions", "MaxRetriesExceededError"): MaxRetriesExceeded,
    ("celery.exceptions", "NotRegistered"): NotRegistered,
    ("celery.exceptions", "Reject"): Reject,
    ("celery.exceptions", "Retry"): Retry,
    ("celery.exceptions", "TaskRevokedError"): TaskRevoked,
}
_SHOWN_LENGTH = 200


class RemoteTraceback(Exception):  # noqa: N818 - it carries text and is no error
    """The cause of a task's exception: the traceback in the worker, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def rebuild(meta: Mapping[str, Any], *, is_revoked: bool = False) -> BaseException:
    """Make the exception of a failed task from its record.

    A record comes from outside, so it must not import anything. If the class is
    imported already and is an `Exception`, it is used. Otherwise the exception is a
    `TaskError` that names the class.

    Args:
        meta: The decoded record of a task in state FAILURE or REVOKED.
        is_revoked: Whether its state is REVOKED.
    """
    stored = meta.get("result")
    text = meta.get("traceback")
    traceback = text if isinstance(text, str) else None
    if is_a(stored, Exception):  # a serializer that carries exceptions
        made = stored
    else:
        made = _from_fields(stored, traceback, is_revoked=is_revoked)
    if traceback:
        with_cause(made, RemoteTraceback(traceback))
    return made


def with_exception(meta: dict[str, Any]) -> dict[str, Any]:
    """Return a record's fields with an exception instead of the data of one.

    Celery reads them so, in the states in which a task has raised.
    """
    state, stored = meta.get("status"), meta.get("result")
    if state not in EXCEPTION_STATES:
        return meta
    if not (isinstance(stored, Mapping) and "exc_type" in stored):
        return meta
    return {**meta, "result": rebuild(meta, is_revoked=state == REVOKED)}


def add_note(exc: BaseException, note: str) -> None:
    """Add a line under the exception in tracebacks; Python 3.10 has no such lines."""
    # The exception's class may forbid attributes, or have its own `add_note`.
    with contextlib.suppress(Exception, SystemExit, GeneratorExit):
        exc.add_note(note)  # type: ignore[attr-defined] # from Python 3.11 on


def shown(stored: Any) -> str:
    """Return a record's exception as text, as the `repr` of its own class."""
    if not isinstance(stored, Mapping):
        return telling.shown(stored, _SHOWN_LENGTH)
    message = stored.get("exc_message")
    args = message if isinstance(message, (list, tuple)) else (message,)
    name = telling.line(stored.get("exc_type")).rpartition(".")[2]
    return f"{name}({_shown(args)})"


def _from_fields(stored: Any, traceback: str | None, *, is_revoked: bool) -> Exception:
    # A user may have stored another value, for instance by `update_state`.
    is_exception = isinstance(stored, Mapping) and "exc_type" in stored
    fields = stored if is_exception else {}
    given = fields.get("exc_type") or ("Revoked" if is_revoked else "Unknown")
    name = given if isinstance(given, str) else telling.line(given)
    module = fields.get("exc_module")
    message = fields.get("exc_message", ()) if is_exception else stored
    args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
    if is_revoked:
        return TaskRevoked(telling.line(args[0]) if args else "")
    cls = _imported(module, name)
    if cls is not None:
        try:
            made = cls(*args)
        except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001 - it is the task's code
            # Not the reader's error: the task has failed, and its class is unusable.
            made = None
        if type(made) is cls:
            return made
    return TaskError(
        f"{telling.line(name)}({_shown(args)})",
        exc_type=name,
        exc_module=module if isinstance(module, str) else None,
        remote_traceback=traceback,
    )


def _imported(module_name: Any, qualname: str) -> type[Exception] | None:
    """Return a class that is imported already, without running any code."""
    if not isinstance(module_name, str):
        return None
    known = _COUNTERPARTS.get((module_name, qualname))
    if known is not None:
        return known
    if module_name == "__mp_main__":  # a spawned worker's name for the main script
        module_name = "__main__"
    found: Any = sys.modules.get(module_name)
    for name in qualname.split("."):
        # Not by getattr, because a module's or metaclass's hook could run code.
        space = getattr(found, "__dict__", None)
        found = space.get(name) if isinstance(space, Mapping) else None
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    return None


def _shown(args: Sequence[Any]) -> str:
    listed = ", ".join(
        telling.shown(arg, _SHOWN_LENGTH) for arg in args[:_SHOWN_LENGTH]
    )
    return telling.line(listed, _SHOWN_LENGTH)
