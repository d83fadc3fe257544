"""Outcomes of tasks as plain data, which travel from a child process to its parent.

The child serialises the values that tasks return. So a value that cannot be serialised
fails its task and never breaks the pool.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu.serialization import dumps, loads

from celerant.common.foreign import args_of, class_name, is_a, said, stored_as
from celerant.common.printable import shown
from celerant.common.stock_errors import encode_error, named_exception
from celerant.common.with_form import plain_value
from celerant.errors import Retry, TaskControl
from celerant.running.trace import FAILURE, SUCCESS, Outcome
from celerant.tasks import control_flow

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["Packed", "Shown", "checked", "pack", "pack_unused", "unpack"]

#: Serializers by which results carry exceptions as they are, as in Celery.
_CARRY_EXCEPTIONS = frozenset({"pickle", "yaml"})
#: Classes of values that are small, or not worth a text in their place.
_SCALARS = frozenset({type(None), bool, int, float, str})


class Packed(NamedTuple):
    """An outcome as plain data, which travels by pickle."""

    state: str
    #: (content type, content encoding, body) of the value; None if there is none.
    value: tuple[str, str, Any] | None
    #: (class, module, arguments) of the exception; None if there is none.
    exception: tuple[str, str, tuple[Any, ...]] | None
    traceback: str | None
    runtime: float
    #: A packed Retry, Ignore or Reject; None if the task raised none.
    control: tuple[Any, ...] | None = None
    #: The value in place of `value`, or the exception beside `exception`, pickled; None
    #: if it need not be the very same.
    pickled: bytes | None = None
    #: The value in place of `value`, if it is only looked at.
    only_shown: Any = None
    #: The canvases that the parent sends in the task's place, pickled.
    successors: bytes | None = None
    #: Results of the canvases that the task has sent.
    children: tuple[Any, ...] = ()
    #: What the task has changed of its request, pickled; None if nothing.
    changes: bytes | None = None


class Shown:
    """A value that stays in the child, as its text for logs and events."""

    __slots__ = ("_text",)

    def __init__(self, value: object) -> None:
        self._text = shown(value)

    def __repr__(self) -> str:
        return self._text


def pack_unused(outcome: Outcome, *, is_shown: bool) -> Packed:
    """Pack a success whose value goes nowhere.

    Args:
        outcome: The success.
        is_shown: Whether a log or an event shows the value.
    """
    value = outcome.value
    if type(value) not in _SCALARS:
        # It may be large, and no serializer need take it.
        value = Shown(value) if is_shown else None
    return Packed(SUCCESS, None, None, None, outcome.runtime, only_shown=value)


def pack(outcome: Outcome, serializer: str, request: Request | None = None) -> Packed:
    """Return an outcome as plain data; a value that cannot be encoded is a failure.

    Args:
        outcome: The outcome.
        serializer: The name of the serializer of results.
        request: The task's; None passes the value to no other task.
    """
    if outcome.state == SUCCESS:
        pickled = _pickled_for_others(outcome.value, serializer, request)
        if pickled is not None:
            return Packed(SUCCESS, None, None, None, outcome.runtime, pickled=pickled)
        try:
            packed = _encoded(outcome.value, serializer)
        except BaseException as exc:  # noqa: BLE001 - the value's own code may raise it
            outcome = _unserialisable(outcome, serializer, exc)
        else:
            return Packed(SUCCESS, packed, None, None, outcome.runtime)
    raised, control, named = outcome.exception, None, None
    if is_a(raised, TaskControl):
        control = control_flow.pack(raised, _portable, _exception)
        raised = raised.exc if is_a(raised, Retry) else None
    elif raised is not None:
        named = _exception(raised)
    pickled = None
    if raised is not None and serializer in _CARRY_EXCEPTIONS:
        pickled = _pickled(raised)
    return Packed(
        outcome.state, None, named, outcome.traceback, outcome.runtime, control, pickled
    )


def checked(outcome: Outcome, serializer: str) -> Outcome:
    """Return a success, or a failure if the serializer of results does not take it."""
    try:
        _encoded(outcome.value, serializer)
    except BaseException as exc:  # noqa: BLE001 - the value's own code may raise it
        return _unserialisable(outcome, serializer, exc)
    return outcome


def _pickled_for_others(
    value: Any, serializer: str, request: Request | None
) -> bytes | None:
    """Return a value for the next tasks, which need not pass the one of results.

    None if there are no such tasks, or the value cannot be pickled.
    """
    if request is None or not (request.callbacks or request.chain):
        return None
    try:
        return pickle.dumps(plain_value(value, serializer))
    except BaseException:  # noqa: BLE001 - reducers raise what they like
        return None


def _pickled(raised: BaseException) -> bytes | None:
    try:
        pickled = pickle.dumps(raised)
        # Here, because the parent should meet no class that cannot be made again.
        pickle.loads(pickled)  # noqa: S301 - our own bytes
    except BaseException:  # noqa: BLE001 - reducers raise what they like
        return None
    return pickled


def _encoded(value: Any, serializer: str) -> tuple[str, str, Any]:
    content_type, encoding, body = dumps(plain_value(value, serializer), serializer)
    plain = body if isinstance(body, (str, bytes)) else bytes(body)
    return content_type, encoding, plain


def _exception(raised: BaseException) -> tuple[str, str, tuple[Any, ...]]:
    name, module = stored_as(type(raised))
    # A spawned child calls the script's module by another name.
    module = "__main__" if module == "__mp_main__" else module
    return name, module, tuple(map(_portable, args_of(raised)))


def _unserialisable(outcome: Outcome, serializer: str, exc: BaseException) -> Outcome:
    value = outcome.value
    reason = (
        f"the task returned {shown(value)} of type {class_name(value)}, "
        f"which the serializer {serializer!r} does not take ({said(exc)}); return "
        f"plain data or set result_serializer"
    )
    return Outcome(FAILURE, exception=encode_error(reason), runtime=outcome.runtime)


def _portable(value: Any) -> Any:
    # As plain data, because the parent may not have the child's classes.
    try:
        body = dumps(value, "json")
        return loads(body[2], body[0], body[1])
    except BaseException:  # noqa: BLE001 - the value's own code may raise it
        return shown(value)


def unpack(packed: Packed) -> Outcome:
    """Return the outcome that a child packed.

    Unless the serializer of results carries exceptions, an exception comes back with
    the same name and arguments, but not as the same class. The stored record is the
    same, and the parent needs none of the task's modules.
    """
    if packed.state == SUCCESS:
        return Outcome(SUCCESS, _value(packed), runtime=packed.runtime, is_told=True)
    original = _original(packed.pickled)
    exc: BaseException
    if packed.control is not None:
        exc = control_flow.unpack(packed.control)
        if original is not None and isinstance(exc, Retry):
            exc.exc = original
    elif original is not None:
        exc = original
    else:
        name, module, args = packed.exception or ("Exception", "builtins", ())
        exc = named_exception(name, module, *args)
    return Outcome(
        packed.state,
        exception=exc,
        traceback=packed.traceback,
        runtime=packed.runtime,
        is_told=True,
    )


def _value(packed: Packed) -> Any:
    if packed.pickled is not None:
        return pickle.loads(packed.pickled)  # noqa: S301 - made by our own child
    if packed.value is None:
        return packed.only_shown
    content_type, encoding, body = packed.value
    return loads(body, content_type, encoding, force=True)


def _original(pickled: bytes | None) -> Any:
    if pickled is None:
        return None
    try:
        found = pickle.loads(pickled)  # noqa: S301 - made by our own child
    except BaseException:  # noqa: BLE001 - its name and arguments are there too
        return None
    return found if is_a(found, BaseException) else None
