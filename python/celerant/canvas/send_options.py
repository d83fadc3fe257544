"""The options of a send: which there are, and how they take precedence."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from kombu import Exchange, Producer, Queue

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
    "check_parts",
    "producer_of",
]


class Kind(NamedTuple):
    """Which values an option takes beside None."""

    takes: Callable[[Any], bool]
    words: str


class SendOption(NamedTuple):
    """One option of a send."""

    treatment: Literal["honoured", "refused"]
    kind: Kind
    #: What it does here, where Celery's documentation does not say; why it is refused.
    remark: str = ""


def _of(words: str, *types: type) -> Kind:
    return Kind(lambda value: isinstance(value, types), words)


def _is_seconds(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, datetime)
    try:
        # Python 3.10 reads no final Z.
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _are_signatures(value: Any) -> bool:
    several = value if isinstance(value, (list, tuple, set)) else (value,)
    return all(one is None or isinstance(one, dict) for one in several)


_ANY = Kind(lambda _: True, "anything")
_FLAG = _of("True or False", bool, int)
_SECONDS = Kind(_is_seconds, "a number of seconds")
_LIMIT = Kind(lambda v: _is_seconds(v) and v >= 0, "a number of seconds, 0 or more")
_MOMENT = Kind(_is_moment, "a datetime or ISO 8601 text")
_UNTIL = Kind(
    lambda v: _is_seconds(v) or _is_moment(v),
    "a number of seconds, a datetime or ISO 8601 text",
)
# True among them: some count on it.
_WHOLE = _of("a whole number", int)
_TEXT = _of("text", str)
_MAPPING = _of("a mapping", Mapping)
_LIST = _of("a list", list, tuple, set, frozenset)
_SIGNATURES = Kind(_are_signatures, "a signature or a list of them; use task.s(...)")


def _taken(kind: Kind = _ANY, remark: str = "") -> SendOption:
    return SendOption("honoured", kind, remark)


def _refused(remark: str) -> SendOption:
    return SendOption("refused", _ANY, remark)


_SQS = "a property of the message, for SQS"

#: Every option of `apply_async`, `Signature.set` and `apply` that Celery has, by name.
OPTIONS: dict[str, SendOption] = {
    # When, until when and where.
    "countdown": _taken(_SECONDS),
    "eta": _taken(_MOMENT),
    "expires": _taken(_UNTIL),
    "expiration": _taken(_SECONDS, "seconds that the broker keeps the message"),
    "queue": _taken(_of("a name or a kombu.Queue", str, Queue)),
    "exchange": _taken(_of("a name or a kombu.Exchange", str, Exchange)),
    "exchange_type": _taken(_TEXT),
    "routing_key": _taken(_TEXT),
    "priority": _taken(_WHOLE),
    "route_name": _taken(_TEXT),
    # What follows, and what it belongs to.
    "link": _taken(_SIGNATURES),
    "link_error": _taken(_SIGNATURES),
    "chain": _taken(),
    "chord": _taken(),
    "group_id": _taken(_TEXT),
    "group_index": _taken(_WHOLE),
    "root_id": _taken(_TEXT),
    "parent_id": _taken(_TEXT),
    "add_to_parent": _taken(_FLAG),
    "replaced_task_nesting": _taken(_WHOLE),
    # How it runs.
    "time_limit": _taken(_LIMIT),
    "soft_time_limit": _taken(_LIMIT),
    "ignore_result": _taken(_FLAG),
    "retries": _taken(_WHOLE),
    "throw": _refused("it is an option of `apply`, which runs a task here"),
    "logfile": _taken(_ANY, "of `apply`: a field of the request"),
    "loglevel": _taken(_ANY, "of `apply`: a field of the request"),
    # Names.
    "task_id": _taken(_TEXT),
    "shadow": _taken(_TEXT),
    "argsrepr": _taken(),
    "kwargsrepr": _taken(),
    "origin": _taken(),
    "reply_to": _taken(),
    # How the message is written and sent.
    "serializer": _taken(_TEXT),
    "compression": _taken(_TEXT),
    "headers": _taken(_MAPPING),
    "stamped_headers": _taken(_LIST),
    "delivery_mode": _taken(),
    "mandatory": _taken(_FLAG),
    "immediate": _taken(_FLAG),
    "retry": _taken(_FLAG),
    "retry_policy": _taken(_MAPPING),
    "timeout": _taken(_SECONDS),
    "confirm_timeout": _taken(_SECONDS),
    "declare": _taken(_LIST),
    "producer": _taken(_ANY, "a kombu producer of the caller's"),
    "publisher": _taken(_ANY, "Celery's older name of `producer`"),
    "connection": _taken(_ANY, "a kombu connection of the caller's"),
    # Properties of the message.
    "properties": _taken(_MAPPING, "more properties of the message, by name"),
    "app_id": _taken(),
    "cluster_id": _taken(),
    "correlation_id": _taken(),
    "message_id": _taken(),
    "timestamp": _taken(),
    "type": _taken(),
    "user_id": _taken(),
    "MessageGroupId": _taken(_ANY, _SQS),
    "MessageDeduplicationId": _taken(_ANY, _SQS),
    "DelaySeconds": _taken(_ANY, _SQS),
    "delay_seconds": _taken(_ANY, _SQS),
    "message_attributes": _taken(_ANY, _SQS),
    # What Celery's own functions hand to each other.
    "router": _refused("routes are the setting task_routes"),
    "result_cls": _refused("a result is an AsyncResult"),
    "task_type": _refused("the task's own options are looked up by its name"),
    "callbacks": _refused("use link="),
    "errbacks": _refused("use link_error="),
    "create_sent_event": _refused("that is the setting task_send_sent_event"),
    "event_dispatcher": _refused("that is the setting task_send_sent_event"),
    "now": _refused("times are counted from the send"),
    "timezone": _refused("that is the setting timezone"),
    "content_type": _refused("the serializer says it"),
    "content_encoding": _refused("the serializer says it"),
    "body": _refused("it is made of the arguments"),
}

#: Those that become properties of the message, AMQP's own and others.
MESSAGE_PROPERTIES = frozenset(
    {
        "app_id",
        "cluster_id",
        "correlation_id",
        "message_id",
        "timestamp",
        "type",
        "user_id",
        "MessageGroupId",
        "MessageDeduplicationId",
        "DelaySeconds",
        "delay_seconds",
        "message_attributes",
    }
)

#: Who sends and reads a call, and how it runs in place: no part of its message.
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
#: What links are is seen where a canvas is frozen; Celery up to 5.6 leaves the last
#: among the options of errbacks.
_CHECKED_ELSEWHERE = frozenset({"link", "link_error", "immutable"})
#: What a message has by other means than as a property that somebody adds.
_OWN_FIELDS = frozenset(OPTIONS) - MESSAGE_PROPERTIES | {"delivery_info"}


def producer_of(options: Mapping[str, Any]) -> Producer | None:
    """Return the caller's own producer; None where there is none."""
    producer = options.get("producer") or options.get("publisher")
    connection = options.get("connection")
    if producer is None and connection is not None:
        return Producer(connection, auto_declare=False)
    return producer


def check_options(options: Mapping[str, Any], path: str = "", whose: str = "") -> None:
    """Refuse option names that nobody reads, and values that nobody can use.

    Also those of what is linked, which is sent later.

    Args:
        options: As given.
        path: What the options belong to; empty where the caller adds it to the error.
        whose: The same for people, by default `path`.
    Raises:
        SettingError: With the nearest known name.
    """
    if not options:
        return
    _check_own(options, path, whose)
    check_links(options, path)


def check_links(options: Mapping[str, Any], path: str) -> None:
    """Check the options of what is linked by options, as `check_canvas`."""
    for part in following(Part({"options": options}, "root", path, None, None)):
        check_canvas(part.canvas, part.path)


def check_canvas(canvas: dict[str, Any], path: str) -> None:
    """Check the options of a canvas and of all that it holds.

    Generators are not drawn. Cycles, and what is no canvas, are found where it is
    frozen.

    Raises:
        SettingError: As `check_options`.
    """
    for _ in check_parts(canvas, path):
        pass


def check_parts(
    canvas: dict[str, Any], path: str, *, hold: bool = False
) -> Iterator[Part]:
    """Yield the parts of a canvas once their options are checked, as `check_canvas`.

    Args:
        canvas: The canvas.
        path: What it is called.
        hold: Draw generators and keep what comes out of them.
    """
    for part in walk(canvas, path, hold=hold, links=True):
        options = part.canvas.get("options")
        if isinstance(options, Mapping) and options:
            own = {k: v for k, v in options.items() if k not in _CHECKED_ELSEWHERE}
            is_task = not kind_of(part.canvas).is_composed
            place, whose = part.path, f": task {part.canvas.get('task')}"
            _check_own(own, place, place + whose if is_task else place)
        yield part


def _check_own(options: Mapping[str, Any], path: str, whose: str) -> None:
    prefix = f"{whose or path}: " if path else ""
    stamps: Iterable[str] = options.get("stamped_headers") or ()
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            if name in stamps:
                continue
            near = nearest(name, frozenset(OPTIONS))
            hint = f"; did you mean {near!r}" if near else ""
            msg = f"{prefix}unknown option {name!r}{hint}"
            raise SettingError(msg, name=name, nearest=near, path=path)
        if option.treatment == "refused":
            msg = f"{prefix}option {name!r} cannot be given: {option.remark}"
            raise SettingError(msg, name=name, path=path)
        if value is not None and not option.kind.takes(value):
            wanted, _, advice = option.kind.words.partition("; ")
            msg = f"{prefix}{name} must be {wanted}, not {_shown(name, value)}"
            msg += f"; {advice}" if advice else ""
            raise SettingError(msg, name=name, path=path)
    for name in options.get("properties") or ():
        if not isinstance(name, str) or name in _OWN_FIELDS:
            msg = f"{prefix}properties cannot have {name!r}; give that as an option"
            raise SettingError(msg, name="properties", path=path)
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard and soft and soft > hard:
        msg = f"{prefix}soft_time_limit {soft} s is over time_limit {hard} s"
        raise SettingError(msg, name="soft_time_limit", path=path)


def _shown(name: str, value: Any) -> str:
    # Of what is not plain the type says more than its looks.
    if isinstance(value, (str, int, float)) and not name.startswith("link"):
        return f"{type(value).__name__} {reprlib.repr(value)}"
    return type(value).__name__
