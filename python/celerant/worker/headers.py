"""The headers and properties of a message, checked on their way to its request.

Source: Celery message protocol 2 as emitted by celery 5.7.0 ``as_task_v2``.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celerant.common.printable import shown
from celerant.worker.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.request import Request

__all__ = [
    "is_text",
    "read_headers",
    "read_properties",
    "read_time",
    "timestamp",
    "wrong",
]

#: Headers that go to the request unchanged, and the types of those that are not null.
_HEADERS: dict[str, type | tuple[type, ...]] = {
    "root_id": str,
    "parent_id": str,
    "group": str,
    "group_index": int,
    "eta": str,
    "expires": str,
    "shadow": str,
    "origin": str,
    "retries": int,
    "stamped_headers": (list, tuple),
    "stamps": dict,
    "replaced_task_nesting": int,
    "ignore_result": int,
}
_KNOWN = _HEADERS.keys() | {
    "argsrepr",
    "compression",
    "id",
    "kwargsrepr",
    "lang",
    "task",
    "timelimit",
}
_LIMITS_LENGTH = 2
#: How many bytes AMQP allows for the name of a queue or of a message.
_LONGEST_ADDRESS = 255
#: The stores do not keep larger numbers exactly.
_HIGHEST_INDEX = 2**53
_NO_LIMITS = [None, None]
_SHOWN = 80


def read_properties(message: Any, request: Request) -> Refused | None:
    """Put a message's properties into its request.

    If one is wrong, return the refusal.
    """
    properties, info = message.properties, message.delivery_info
    request.properties = properties
    if not isinstance(info, dict):
        info = {}
    problem = None
    reply_to, own_id = properties.get("reply_to"), properties.get("correlation_id")
    if reply_to is None or is_address(reply_to):
        request.reply_to = reply_to
    else:
        problem = wrong("reply_to", reply_to, request, "property")
    if own_id is None or is_address(own_id):
        request.correlation_id = own_id
    else:
        problem = problem or wrong("correlation_id", own_id, request, "property")
    priority = properties.get("priority")
    if priority is not None and not isinstance(priority, int):
        problem = problem or wrong("priority", priority, request, "property")
        priority = None
    request.delivery_info = {
        "exchange": info.get("exchange"),
        "routing_key": info.get("routing_key"),
        "priority": priority,
        "redelivered": bool(info.get("redelivered")),
    }
    return problem


def read_headers(headers: dict[str, Any], request: Request) -> Refused | None:
    """Put a message's headers into its request; if one is wrong, return the refusal."""
    problem = None
    # Most headers of most messages are null, as the request's fields are already.
    for name, value in headers.items():
        types = _HEADERS.get(name) if value is not None else None
        if types is None:
            if name not in _KNOWN:
                request.headers[name] = value
        elif isinstance(value, types) and (name not in _CHECKS or _CHECKS[name](value)):
            setattr(request, name, value)
        else:
            problem = problem or wrong(name, value, request)
    if request.stamps:
        # In memory the members of a group have one in common.
        request.stamps = dict(request.stamps)
    # These two are for people to read, so a wrong type does not stop the message.
    text = headers.get("argsrepr")
    if type(text) is str:
        request.argsrepr = text
    text = headers.get("kwargsrepr")
    if type(text) is str:
        request.kwargsrepr = text
    limits = headers.get("timelimit")
    if limits is not None and limits != _NO_LIMITS:
        if _are_limits(limits):
            request.timelimit = (limits[0], limits[1])
        else:
            problem = problem or wrong("timelimit", limits, request)
    return problem


def _are_limits(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == _LIMITS_LENGTH
        and all(
            limit is None or (isinstance(limit, (int, float)) and limit >= 0)
            for limit in value
        )
    )


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def is_text(value: str) -> bool:
    """Whether a broker and a store take a text; they refuse lone surrogates."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def is_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if value.isascii():
        return len(value) <= _LONGEST_ADDRESS
    return is_text(value) and len(value.encode()) <= _LONGEST_ADDRESS


def wrong(name: str, value: Any, request: Request, part: str = "header") -> Refused:
    """Return the refusal of a message because of one header or property."""
    msg = f"its {part} {name!r} cannot be {shown(value, _SHOWN)}"
    return Refused(msg, request)


#: Checks that headers must pass besides those of their types.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "group_index": lambda index: 0 <= index <= _HIGHEST_INDEX,
    "stamped_headers": lambda names: all(map(_is_str, names)),
}


def read_time(name: str, text: str | None, request: Request) -> float | None:
    """Return a header's time in seconds since the epoch; None if it is empty.

    Raises:
        Refused: The header is no ISO 8601 text.
    """
    if not text:
        return None
    try:
        return timestamp(text)
    except (ValueError, OverflowError) as exc:
        raise wrong(name, text, request) from exc


def timestamp(text: str) -> float:
    """Return the time of an ISO 8601 text in seconds since the epoch.

    A text without an offset is UTC, as Celery with ``enable_utc`` sends it.

    Raises:
        ValueError: The text is not ISO 8601.
    """
    # Python 3.10's `fromisoformat` does not read a final Z.
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
