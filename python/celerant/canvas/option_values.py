"""The values that options of sends and of tasks may have; each may also be None.

Use it as a module: ``values.TEXT``. The values of settings are in
`celerant.config.setting_values`: settings are read from text too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from kombu import Exchange, Queue

from celerant.errors import SettingError

__all__ = ["OptionValues", "check_limits"]


class OptionValues(NamedTuple):
    """Which values an option takes beside None."""

    takes: Callable[[Any], bool]
    #: "must be ...", and after a semicolon what to do.
    words: str


def _of(words: str, *types: type) -> OptionValues:
    return OptionValues(lambda value: isinstance(value, types), words)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, datetime)
    try:
        # Python 3.10 reads no final Z.
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _is_rate(value: Any) -> bool:
    if not isinstance(value, str):
        return _is_number(value)
    count, _, per = value.partition("/")
    try:
        float(count)
    except ValueError:
        return False
    return per in {"", "s", "m", "h"}


def _are_signatures(value: Any) -> bool:
    several = value if isinstance(value, (list, tuple, set)) else (value,)
    return all(one is None or isinstance(one, dict) for one in several)


def _raises(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _are_exceptions(value: Any) -> bool:
    return isinstance(value, (tuple, list, set, frozenset)) and all(map(_raises, value))


ANY = OptionValues(lambda _: True, "anything")
FLAG = _of("True or False", bool, int)
# True among them: some count on it.
WHOLE = _of("a whole number", int)
STRICT_WHOLE = OptionValues(
    lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"
)
COUNT = OptionValues(_is_count, "a whole number, or None")
SECONDS = OptionValues(_is_number, "a number of seconds")
LIMIT = OptionValues(
    lambda v: _is_number(v) and v >= 0, "a number of seconds, 0 or more"
)
FACTOR = OptionValues(
    lambda v: isinstance(v, bool) or _is_number(v), "True, False or seconds"
)
MOMENT = OptionValues(_is_moment, "a datetime or ISO 8601 text")
UNTIL = OptionValues(
    lambda v: _is_number(v) or _is_moment(v),
    "a number of seconds, a datetime or ISO 8601 text",
)
RATE = OptionValues(_is_rate, "a number, or text such as '10/m'")
TEXT = _of("text", str)
MAPPING = _of("a mapping", Mapping)
LIST = _of("a list", list, tuple, set, frozenset)
QUEUE = _of("a name or a kombu.Queue", str, Queue)
EXCHANGE = _of("a name or a kombu.Exchange", str, Exchange)
MODE = OptionValues(
    lambda v: v in {1, 2, "transient", "persistent"},
    "'transient', 'persistent', 1 or 2",
)
SIGNATURES = OptionValues(
    _are_signatures, "a signature or a list of them; use task.s(...)"
)
EXCEPTIONS = OptionValues(_are_exceptions, "a tuple of exception classes")
EXPECTED = OptionValues(
    lambda v: _raises(v) or _are_exceptions(v), "an exception class or a tuple of them"
)


def check_limits(options: Mapping[str, Any], prefix: str, path: str = "") -> None:
    """Refuse a soft time limit that comes after the hard one."""
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard and soft and soft > hard:
        msg = f"{prefix}soft_time_limit {soft} s is over time_limit {hard} s"
        raise SettingError(msg, name="soft_time_limit", path=path)
