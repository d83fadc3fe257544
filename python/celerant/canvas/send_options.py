"""The options of a send, and the checks of their values."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from kombu import Producer

from celerant.canvas import option_values as values
from celerant.canvas.feed_options import FeedOptions
from celerant.canvas.kinds import kind_of
from celerant.canvas.parts import Part, following, walk
from celerant.config import nearest
from celerant.errors import SettingError

__all__ = [
    "MESSAGE_PROPERTIES",
    "NO_PART_OF_A_MESSAGE",
    "OPTIONS",
    "SendOption",
    "check_canvas",
    "check_links",
    "check_options",
    "check_part",
    "producer_of",
]


class SendOption(NamedTuple):
    """One option of a send."""

    treatment: Literal["honoured", "refused"]
    values: values.OptionValues
    #: Its effect, if Celery's documentation does not tell it; or why it is refused.
    remark: str = ""
    #: Whether it becomes a property of the message.
    is_property: bool = False


def _taken(taken: values.OptionValues = values.ANY, remark: str = "") -> SendOption:
    return SendOption("honoured", taken, remark)


def _refused(remark: str) -> SendOption:
    return SendOption("refused", values.ANY, remark)


_PROPERTY = _taken()._replace(is_property=True)
_OF_SQS = _PROPERTY._replace(remark="a property of the message, for SQS")

#: Every option of `apply_async`, `Signature.set` and `apply` that Celery has, by name.
OPTIONS: dict[str, SendOption] = {
    # Times and destination.
    "countdown": _taken(values.SECONDS),
    "eta": _taken(values.MOMENT),
    "expires": _taken(values.UNTIL),
    "expiration": _taken(values.SECONDS, "seconds that the broker keeps the message"),
    "queue": _taken(values.QUEUE),
    "exchange": _taken(values.EXCHANGE),
    "exchange_type": _taken(values.TEXT),
    "routing_key": _taken(values.TEXT),
    "priority": _taken(values.WHOLE),
    "route_name": _taken(values.TEXT),
    # Callbacks, and the canvas around it.
    "link": _taken(values.SIGNATURES),
    "link_error": _taken(values.SIGNATURES),
    "chain": _taken(),
    "chord": _taken(),
    "group_id": _taken(values.TEXT),
    "group_index": _taken(values.WHOLE),
    "root_id": _taken(values.TEXT),
    "parent_id": _taken(values.TEXT),
    "add_to_parent": _taken(values.FLAG),
    "replaced_task_nesting": _taken(values.WHOLE),
    # How it runs.
    "time_limit": _taken(values.LIMIT),
    "soft_time_limit": _taken(values.LIMIT),
    "ignore_result": _taken(values.FLAG),
    "retries": _taken(values.WHOLE),
    "throw": _refused("it is an option of `apply`, which runs the task here"),
    "logfile": _taken(values.ANY, "for `apply` alone: a field of the request"),
    "loglevel": _taken(values.ANY, "for `apply` alone: a field of the request"),
    # Names.
    "task_id": _taken(values.TEXT),
    "shadow": _taken(values.TEXT),
    "argsrepr": _taken(),
    "kwargsrepr": _taken(),
    "origin": _taken(),
    "reply_to": _taken(),
    # How the message is written and sent.
    "serializer": _taken(values.TEXT),
    "compression": _taken(values.TEXT),
    "headers": _taken(values.MAPPING),
    "stamped_headers": _taken(values.LIST),
    "delivery_mode": _taken(),
    "mandatory": _taken(values.FLAG),
    "immediate": _taken(values.FLAG),
    "retry": _taken(values.FLAG),
    "retry_policy": _taken(values.MAPPING),
    "timeout": _taken(values.SECONDS),
    "confirm_timeout": _taken(values.SECONDS),
    "declare": _taken(values.LIST),
    "producer": _taken(values.ANY, "the caller's own kombu producer"),
    "publisher": _taken(values.ANY, "Celery's older name of `producer`"),
    "connection": _taken(values.ANY, "the caller's own kombu connection"),
    # Properties of the message.
    "properties": _taken(values.MAPPING, "more properties of the message, by name"),
    "app_id": _PROPERTY,
    "cluster_id": _PROPERTY,
    "correlation_id": _PROPERTY,
    "message_id": _PROPERTY,
    "timestamp": _PROPERTY,
    "type": _PROPERTY,
    "user_id": _PROPERTY,
    "MessageGroupId": _OF_SQS,
    "MessageDeduplicationId": _OF_SQS,
    "DelaySeconds": _OF_SQS,
    "delay_seconds": _OF_SQS,
    "message_attributes": _OF_SQS,
    # Options that Celery's own functions hand to each other.
    "router": _refused("the setting task_routes does this"),
    "result_cls": _refused("a result is an AsyncResult"),
    "task_type": _refused("the task's own options are looked up by its name"),
    "callbacks": _refused("use link="),
    "errbacks": _refused("use link_error="),
    "create_sent_event": _refused("the setting task_send_sent_event does this"),
    "event_dispatcher": _refused("the setting task_send_sent_event does this"),
    "now": _refused("times count from the send"),
    "timezone": _refused("the setting timezone does this"),
    "content_type": _refused("the serializer decides it"),
    "content_encoding": _refused("the serializer decides it"),
    "body": _refused("it is made from the arguments"),
}

#: Options that become properties of the message, AMQP's own and others.
MESSAGE_PROPERTIES = frozenset(n for n, option in OPTIONS.items() if option.is_property)

#: Options about sending, reading and running in place: no part of the message.
NO_PART_OF_A_MESSAGE = (
    "add_to_parent",
    "connection",
    "logfile",
    "loglevel",
    "producer",
    "publisher",
    "task_id",
    "throw",
)
#: Callbacks are checked when a canvas is frozen; Celery up to 5.6 leaves the last name
#: among the options of errbacks.
_CHECKED_ELSEWHERE = frozenset({"link", "link_error", "immutable"})
#: Names that a message has already, and not as an added property.
_OWN_FIELDS = frozenset(OPTIONS) - MESSAGE_PROPERTIES | {"delivery_info"}
#: Options that only the call has that sends a group by itself.
_OF_GROUPS = frozenset(FeedOptions._fields)


def producer_of(options: Mapping[str, Any]) -> Producer | None:
    """Return the caller's own producer; None if there is none."""
    producer = options.get("producer") or options.get("publisher")
    connection = options.get("connection")
    if producer is None and connection is not None:
        return Producer(connection, auto_declare=False)
    return producer


def check_options(options: Mapping[str, Any], path: str = "", whose: str = "") -> None:
    """Refuse option names that nobody reads, and values that nobody can use.

    The options of callbacks are checked too, although they are sent later.

    Args:
        options: As given.
        path: The owner of the options; empty if the caller adds it to the error.
        whose: The same in words for people; by default `path`.
    Raises:
        SettingError: With the nearest known name.
    """
    if not options:
        return
    _check_own(options, path, whose)
    check_links(options, path)


def check_links(options: Mapping[str, Any], path: str) -> None:
    """Check the options of callbacks and errbacks, as `check_canvas` does."""
    for part in following(Part({"options": options}, "root", path, None, None)):
        check_canvas(part.canvas, part.path)


def check_canvas(canvas: dict[str, Any], path: str) -> None:
    """Check the options of a canvas and of all its parts.

    Generators are not drawn. Freezing finds cycles, and parts that are no canvases.

    Raises:
        SettingError: As `check_options`.
    """
    # Most steps and members have no options, so nothing can be wrong.
    for part in walk(canvas, path, _has_options_or_parts, links=True):
        check_part(part)


def _has_options_or_parts(value: dict[str, Any]) -> bool:
    return bool(value.get("options") or value.get("subtask_type"))


def check_part(part: Part) -> None:
    """Check the options of one part of a canvas."""
    options = part.canvas.get("options")
    if options and isinstance(options, Mapping):
        own = {k: v for k, v in options.items() if k not in _CHECKED_ELSEWHERE}
        is_task = not kind_of(part.canvas).is_composed
        place, whose = part.path, f": task {part.canvas.get('task')}"
        _check_own(own, place, place + whose if is_task else place)


def _check_own(options: Mapping[str, Any], path: str, whose: str) -> None:
    prefix = f"{whose or path}: " if path else ""
    stamps: Iterable[str] = options.get("stamped_headers") or ()
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            if name in stamps:
                continue
            raise _unknown(name, prefix, path)
        if option.treatment == "refused":
            msg = f"{prefix}option {name!r} cannot be given: {option.remark}"
            raise SettingError(msg, name=name, path=path)
        if value is not None and not option.values.takes(value):
            wanted, _, advice = option.values.words.partition("; ")
            msg = f"{prefix}{name} must be {wanted}, not {_shown(name, value)}"
            msg += f"; {advice}" if advice else ""
            raise SettingError(msg, name=name, path=path)
    for name in options.get("properties") or ():
        if not isinstance(name, str) or name in _OWN_FIELDS:
            msg = f"{prefix}properties cannot have {name!r}; give that as an option"
            raise SettingError(msg, name="properties", path=path)
    values.check_limits(options, prefix, path)


def _unknown(name: str, prefix: str, path: str) -> SettingError:
    """Return the error for a name that is no option there."""
    if name in _OF_GROUPS:
        msg = f"{prefix}unknown option {name!r}: only a group's apply_async takes it"
        return SettingError(msg, name=name, path=path)
    known = frozenset(OPTIONS)
    near = nearest(name, known | _OF_GROUPS if path == "group" else known)
    hint = f"; did you mean {near!r}" if near else ""
    msg = f"{prefix}unknown option {name!r}{hint}"
    return SettingError(msg, name=name, nearest=near, path=path)


def _shown(name: str, value: Any) -> str:
    # The type says more about a value that is not plain than its repr.
    if isinstance(value, (str, int, float)) and not name.startswith("link"):
        return f"{type(value).__name__} {reprlib.repr(value)}"
    return type(value).__name__
