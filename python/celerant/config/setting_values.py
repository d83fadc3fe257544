"""The values that settings may have, and the values that are kept of them.

Environment variables and INI files have only text, so a number or switch as text is
read as one. All other values are refused here and not at the first send.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta, tzinfo
from numbers import Integral, Real
from typing import Any
from zoneinfo import ZoneInfo

from kombu import Exchange, Queue

__all__ = [
    "ANY",
    "COUNT",
    "EXPIRES",
    "FLAG",
    "LIST",
    "MAPPING",
    "MODE",
    "NAMES",
    "NUMBER",
    "POLICY",
    "POSITIVE",
    "PROTOCOL",
    "QUEUE",
    "QUEUES",
    "QUEUE_TYPE",
    "SECONDS",
    "SIZE",
    "STORE",
    "TEXT",
    "TIMEOUT",
    "TLS",
    "URL",
    "ZONE",
    "SettingValues",
    "choice",
    "optional",
]


@dataclass(frozen=True, slots=True)
class SettingValues:
    """The values that a setting may have."""

    #: For people: "must be ...".
    words: str
    #: Returns the value to keep; raises ValueError or TypeError if it is impossible.
    read: Callable[[Any], Any]
    #: None means "not set", and is kept.
    takes_none: bool = False
    #: Passwords may be in such a value, so it is not shown unless asked for.
    may_hide: bool = False


def optional(values: SettingValues) -> SettingValues:
    """Return the same values, and None."""
    return replace(values, takes_none=True)


def choice(*allowed: str) -> SettingValues:
    """Return the values of a setting that has one of a few."""

    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError
        return value

    return SettingValues(" or ".join(map(repr, allowed)), read)


_SAYS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        if (said := _SAYS.get(value.strip().lower())) is None:
            raise ValueError
        return said
    if isinstance(value, Real) and value in {0, 1}:
        return bool(value)
    raise TypeError


def _number(value: Any) -> Any:
    """Return a finite number, which may be given as text."""
    if isinstance(value, str):
        value = float(value)
        value = int(value) if value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return value


def _any_number(value: Any) -> Any:
    # One of Celery's own defaults is infinite.
    if isinstance(value, float) and value == math.inf:
        return value
    return _number(value)


def _seconds(value: Any) -> Any:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    value = _number(value)
    if value < 0:
        raise ValueError
    return value


def _timeout(value: Any) -> Any:
    seconds = _seconds(value)
    # Python itself cannot wait longer.
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError
    return seconds


def _expires(value: Any) -> Any:
    seconds = _seconds(value)
    # Redis counts whole seconds, and 0 would mean for ever.
    if 0 < seconds < 1:
        raise ValueError
    return value if isinstance(value, timedelta) else seconds


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(value)
        if number < least or not (isinstance(number, Integral) or number % 1 == 0):
            raise ValueError
        return int(number)

    return read


def _size(value: Any) -> int | None:
    # Celery's name for the number of cores; None means the same.
    return None if value in {"auto", None} else _whole(1)(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _name(value: Any) -> str:
    if not _text(value):
        raise ValueError
    return value  # type: ignore[no-any-return]


def _listed(value: Any) -> tuple[Any, ...]:
    """Return several values as a tuple; text is one value and not its letters."""
    if value is None:
        return ()
    if isinstance(value, (str, bytes, type, Mapping)) or not isinstance(
        value, Iterable
    ):
        return (value,)
    return tuple(value)


def _names(value: Any) -> tuple[str, ...]:
    names = _listed(value)
    for name in names:
        _text(name)
    return names


def _mapping(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _policy(value: Any) -> Any:
    for name, one in _mapping(value).items():
        if name not in _OF_POLICY:
            raise ValueError
        if name.startswith(("interval", "max")) and one is not None:
            _any_number(one)
    return value


_OF_POLICY = frozenset(
    {
        "errback",
        "interval_max",
        "interval_start",
        "interval_step",
        "max_retries",
        "on_revive",
        "retry_errors",
    }
)


def _tls(value: Any) -> Any:
    return value if isinstance(value, Mapping) else _flag(value)


def _url(value: Any) -> Any:
    """Return a URL or several; an empty one names no server."""
    if isinstance(value, str):
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError
    for url in value:
        _text(url)
    return value


def _zone(value: Any) -> Any:
    if not isinstance(value, tzinfo):
        # Raises a KeyError of its own if there is none.
        ZoneInfo(value)
    return value


def _mode(value: Any) -> Any:
    if value in {"1", "2"}:
        return int(value)
    if value in {"transient", "persistent"} or (
        value in {1, 2} and not isinstance(value, bool)
    ):
        return value
    raise ValueError


def _protocol(value: Any) -> int:
    if _number(value) != 2:  # noqa: PLR2004 - the protocol's number
        raise ValueError
    return 2


def _queues(value: Any) -> Any:
    """Return queues; text is a name, or several with commas between."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            _text(name)
            if not isinstance(one, (Queue, Mapping)):
                raise TypeError
        return value
    if isinstance(value, str):
        value = filter(None, map(str.strip, value.split(",")))
    # A queue is no iterable, so it becomes a list of one.
    return tuple(map(_queue, _listed(value)))


def _queue(value: Any) -> Queue:
    if isinstance(value, Queue):
        return value
    return Queue(_name(value), Exchange(value), value)


FLAG = SettingValues("true or false", _flag, takes_none=True)
NUMBER = SettingValues("a number", _any_number)
COUNT = SettingValues("a whole number, 0 or more", _whole(0))
POSITIVE = SettingValues("a positive whole number", _whole(1))
SIZE = SettingValues("a positive whole number or 'auto'", _size)
SECONDS = SettingValues("a number of seconds, 0 or more", _seconds)
TIMEOUT = SettingValues("a number of seconds above 0", _timeout)
EXPIRES = SettingValues(
    "seconds or a timedelta: one second or more, 0 for ever", _expires
)
TEXT = SettingValues("text", _text)
STORE = SettingValues("a URL", _text, may_hide=True)
QUEUE = SettingValues("the name of a queue", _name)
QUEUE_TYPE = choice("classic", "quorum")
NAMES = SettingValues("a name or a list of names", _names)
LIST = SettingValues("a list", _listed)
MAPPING = SettingValues("a mapping", _mapping, may_hide=True)
POLICY = SettingValues(
    f"a mapping with no key but {', '.join(sorted(_OF_POLICY))}", _policy
)
TLS = SettingValues("true, false or a mapping of options", _tls, may_hide=True)
URL = SettingValues("a URL or a list of URLs", _url, may_hide=True)
ZONE = SettingValues("the name of a time zone, e.g. 'Europe/Paris'", _zone)
MODE = SettingValues("'transient' (1) or 'persistent' (2)", _mode)
PROTOCOL = SettingValues("2: protocol 1 is not spoken here", _protocol)
QUEUES = SettingValues("queues: names or kombu.Queue, in a list or a mapping", _queues)
ANY = SettingValues("anything", lambda value: value, takes_none=True, may_hide=True)
