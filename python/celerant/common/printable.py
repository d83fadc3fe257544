"""Text of foreign values that is safe to print: one line, not too long.

A message's id, its task's name, an exception's text may be any text. In a
log they must neither begin a line of their own nor fill the disk, and to show them
must not raise.
"""

from __future__ import annotations

import logging
import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from celerant.common.foreign import class_name, traceback_text

__all__ = [
    "Lines",
    "PlainRecords",
    "frames_of_ours",
    "keep_logs_plain",
    "line",
    "shown",
]

#: How many characters of one value are shown: enough to see the problem.
_MOST = 200
#: How many of one argument of a log's line, which may name several values.
_MOST_IN_LOGS = 1000
#: How many of a traceback.
_MOST_LINES = 200
_SPACE = re.compile(r"\s+")


class _Cut(reprlib.Repr):
    """It tells parts apart by their classes; the base class does by their names."""

    def repr1(self, x: Any, level: int) -> str:
        method = _CUT_BY.get(type(x))
        try:
            return repr(x) if method is None else method(self, x, level)
        except BaseException:  # noqa: BLE001 - the other parts are still shown
            return f"<{class_name(x)}>"


#: Types whose values the base class cuts.
_CUT_BY: dict[type, Callable[[reprlib.Repr, Any, int], str]] = {
    cls: getattr(reprlib.Repr, f"repr_{cls.__name__}")
    for cls in (dict, frozenset, int, list, set, str, tuple)
}
_CUT = _Cut()
_CUT.maxlevel, _CUT.maxother, _CUT.maxstring = 4, _MOST, _MOST_IN_LOGS
_CUT.maxdict = _CUT.maxlist = _CUT.maxtuple = _CUT.maxset = 20
_LARGE = frozenset({dict, frozenset, list, set, str, tuple})
#: How many characters are checked, before the text is cut.
_LOOKED_AT = 4


def line(told: object, most: int = _MOST) -> str:
    """Return the text of anything in one line of at most `most` characters."""
    return _plain(_called(str, told), most)


def shown(value: object, most: int = _MOST) -> str:
    """Return the `repr` of anything in one line of at most `most` characters."""
    return _plain(_called(_repr, value), most)


def _repr(value: object) -> str:
    # A large value is cut while it is written, not afterwards.
    return _CUT.repr(value) if type(value) in _LARGE else repr(value)


def _called(show: Callable[[object], str], value: object) -> str:
    try:
        # The `repr` of a subclass of `str` may have methods of its own.
        return str.__str__(show(value))
    except BaseException as exc:  # noqa: BLE001 - a hostile `__repr__` changes nothing
        return f"<{class_name(value)} that cannot be shown: {class_name(exc)}>"


def _plain(text: str, most: int) -> str:
    if len(text) <= most and text.isprintable():
        return text
    text = _SPACE.sub(" ", text[: most * _LOOKED_AT].strip())
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def frames_of_ours() -> int:
    """Return the `stacklevel` of `warnings.warn` that names the user's own line.

    The function that warns calls it.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as `warnings` does
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith(
        "celerant."
    ):
        frame, level = frame.f_back, level + 1
    return level


class Lines(str):
    """Text of several lines for a log, as a traceback: indented, so none looks new."""

    __slots__ = ()

    def __str__(self) -> str:
        rows = self.rstrip().splitlines()
        left_out = len(rows) - _MOST_LINES
        if left_out > 0:
            half = _MOST_LINES // 2
            rows[half:-half] = [f"... {left_out} lines ..."]
        return "".join(f"\n  {_whole(row)}" for row in rows)


def _whole(row: str) -> str:
    indent = row[: len(row) - len(row.lstrip())] if len(row) <= _MOST_IN_LOGS else ""
    return indent.replace("\t", "    ") + _plain(row.strip(), _MOST_IN_LOGS)


class _Told:
    """An argument of a log's line, shown only if the line is written."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return line(self._value, _MOST_IN_LOGS)

    def __repr__(self) -> str:
        return shown(self._value, _MOST_IN_LOGS)


class PlainRecords(logging.Filter):
    """Shows every argument of a log's line in one line that is not too long.

    The lines of its traceback are indented.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let all records pass, with harmful text replaced."""
        raised = record.exc_info[1] if record.exc_info else None
        if raised is not None and not record.exc_text:
            # If there is this text, formatters use it as the traceback.
            record.exc_text = str(Lines(traceback_text(raised))).removeprefix("\n")
        given = record.args
        if isinstance(given, Mapping):
            record.args = {name: _harmless(value) for name, value in given.items()}
        elif given:
            record.args = tuple(map(_harmless, given))
        return True


def _harmless(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, Lines, _Told)):
        return value
    if type(value) is str and len(value) <= _MOST_IN_LOGS and value.isprintable():
        return value
    return _Told(value)


def keep_logs_plain(*names: str) -> None:
    """Make these loggers write harmless text; a second call does nothing."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(known, PlainRecords) for known in logger.filters):
            logger.addFilter(PlainRecords())
