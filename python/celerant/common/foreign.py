"""Foreign values and exceptions, read so that errors of their own code do no harm.

Values and exceptions of tasks may have code of their own behind every method and every
attribute: `repr`, `str`, `args`, `__class__`, the name of its class. Functions here
    never raise, whatever that code does, and run as little of it as possible.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback as tracebacks
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from celerant.errors import (
    ChordError,
    Ignore,
    MaxRetriesExceeded,
    Reject,
    Retry,
    TaskRevoked,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "args_of",
    "class_name",
    "is_a",
    "is_interrupt",
    "said",
    "stored_as",
    "traceback_of",
    "traceback_text",
    "with_cause",
    "with_traceback",
]

T = TypeVar("T")

# The methods of all classes and exceptions, past those that replace them: a frozen
# dataclass refuses even `exc.__traceback__ = None`.
_name_of: Callable[[type], str] = type.__dict__["__name__"].__get__
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__
_get_args: Callable[[BaseException], Any] = BaseException.__dict__["args"].__get__
_get_traceback: Callable[[BaseException], TracebackType | None]
_get_traceback = BaseException.__dict__["__traceback__"].__get__
_set_cause: Callable[[BaseException, BaseException | None], None]
_set_cause = BaseException.__dict__["__cause__"].__set__

#: Limits for an exception: more than anybody reads.
_MOST_ARGS = 1000

#: Celery's names of classes that have another name here.
_CELERY_NAMES: dict[type, str] = {
    ChordError: "ChordError",
    Ignore: "Ignore",
    MaxRetriesExceeded: "MaxRetriesExceededError",
    Reject: "Reject",
    Retry: "Retry",
    TaskRevoked: "TaskRevokedError",
}


def is_a(value: object, cls: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """Whether it has a class, by its type alone: `__class__` may lie, or raise."""
    return issubclass(type(value), cls)


def is_interrupt(exc: BaseException) -> bool:
    """Whether it is a Ctrl-C, which only the main thread gets."""
    return (
        is_a(exc, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


def class_name(value: object) -> str:
    """Return the name of its class."""
    return _name_of(type(value))


def said(exc: BaseException) -> str:
    """Return the text of an exception; its class if it has none."""
    try:
        return str.__str__(str(exc))
    except BaseException:  # noqa: BLE001 - whatever their code raises
        return class_name(exc)


def args_of(exc: BaseException) -> tuple[Any, ...]:
    """Return the arguments of an exception.

    If they are very many, the first and their number.

    Whether each can be stored is found out later.
    """
    found: Any = None
    with contextlib.suppress(BaseException):  # their code may raise anything
        found = exc.args
    # Iteration by foreign code may go on for ever.
    made: tuple[Any, ...] = found if type(found) is tuple else _get_args(exc)
    if len(made) <= _MOST_ARGS:
        return made
    # Not more than the limit with it, since an exception may pass here again.
    kept = made[: _MOST_ARGS - 1]
    return (*kept, f"... {len(made) - len(kept):,} more")


def traceback_of(exc: BaseException) -> TracebackType | None:
    """Return its traceback."""
    return _get_traceback(exc)


def with_traceback(exc: BaseException, below: TracebackType | None) -> None:
    """Set its traceback."""
    BaseException.with_traceback(exc, below)


def with_cause(exc: BaseException, cause: BaseException) -> None:
    """Set its cause."""
    _set_cause(exc, cause)


def traceback_text(exc: BaseException) -> str:
    """Return the traceback as text, as `traceback.print_exception` prints it."""
    below = _get_traceback(exc)
    try:
        return "".join(tracebacks.format_exception(type(exc), exc, below))
    except BaseException:  # noqa: BLE001 - whatever their code raises
        return "".join(tracebacks.format_tb(below)) + class_name(exc) + "\n"


def stored_as(cls: type) -> tuple[str, str]:
    """Return name and module by which stock clients know an exception's class."""
    # Not by a hash: a metaclass may return any.
    for known, name in _CELERY_NAMES.items():
        if known is cls:
            return name, "celery.exceptions"
    try:
        module = _module_of(cls)
    except AttributeError:
        module = None
    name, module = _text(_qualname_of(cls)), _text(module)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        space = getattr(found, "__dict__", None)
        found = space.get(part) if isinstance(space, Mapping) else None
    is_error = is_a(found, type) and issubclass(found, BaseException)
    if found is not None and not is_error:
        # Readers take it for an attack if the name belongs to something else.
        module = f"<{module}>"
    return name, module


def _text(name: Any) -> str:
    """Return text that every reader takes as a class's name."""
    text = str.__str__(name) if is_a(name, str) else class_name(name)
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
