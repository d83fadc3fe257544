"""Values and exceptions whose own code turns against every reader.

Each is made from a recipe in JSON, so that a task makes it in its process, also in a
child process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import decimal
import math
from typing import NamedTuple
from unittest import mock

from celerant import Ignore, Reject, Retry

#: The errors of the methods, by name.
RAISED = {
    kind.__name__: kind
    for kind in (
        RuntimeError,
        AttributeError,
        TypeError,
        OSError,
        MemoryError,
        RecursionError,
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        asyncio.CancelledError,
    )
}

#: Names that code of ours, of kombu's or of reprlib's could look for.
CLASS_NAMES = ("Hostile", "array", "dict", "str", "list", "deque", "Decimal", "tuple")

# Not `__del__`: Python itself reports its errors, at any time.
METHODS = (
    "__repr__",
    "__str__",
    "__format__",
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__json__",
    "__eq__",
    "__bool__",
    "__hash__",
    "__len__",
    "__iter__",
    "__getattr__",
    "as_tuple",
    "isoformat",
    "typecode",
)
#: These are looked at and not called.
ATTRIBUTES = ("__class__", "args", "__cause__", "__notes__", "state", "exc", "requeue")


def _space(names, raised):
    def burst(*_args, **_kwargs):
        raise RAISED[raised]("hostile")

    return {
        name: property(burst) if name in ATTRIBUTES else burst
        for name in names
        if name in METHODS or name in ATTRIBUTES
    }


def value(names, raised, class_name):
    """Return a value whose methods of these names raise."""
    return type(class_name, (), _space(names, raised))()


def exception(names, raised, class_name, base="Exception"):
    """Return an exception whose methods of these names raise."""
    bases = {
        "Exception": Exception,
        "BaseException": BaseException,
        "KeyError": KeyError,
        "Retry": Retry,
        "Ignore": Ignore,
        "Reject": Reject,
    }
    # For a Reject: its message does not come again.
    args = ("why", False) if base == "Reject" else ("why", 7)
    return type(class_name, (bases[base],), _space(names, raised))(*args)


@dataclasses.dataclass(frozen=True)
class Declined(Exception):  # noqa: N818 - as people name them
    """It cannot be changed, not even its traceback."""

    code: object = 1


class Point(NamedTuple):
    """Its fields have the names of the fields of results and records."""

    as_tuple: int
    task: int
    id: int
    status: int
    result: int


class NoArgumentsError(Exception):
    """It cannot be made again from its arguments."""

    def __init__(self):
        super().__init__("more", "arguments", "than it takes")


def _named(name, module):
    return type("Named", (Exception,), {"__module__": module, "__qualname__": name})


def _cycle():
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def _deep():
    made = []
    for _ in range(100_000):
        made = [made]
    return made


#: Values by name, each made when it is asked for.
VALUES = {
    "huge int": lambda: math.factorial(2000),
    "nan": lambda: math.nan,
    "decimal": lambda: decimal.Decimal("1.10"),
    "surrogate": lambda: "\ud800",
    "bytes": lambda: b"\xff\x00",
    "set": lambda: {1, 2},
    "deep": _deep,
    "function": lambda: _deep,
    "generator": lambda: iter([1]),
    "class": lambda: Declined,
    "module": lambda: math,
    "exception": lambda: ValueError("returned"),
    "mock": mock.MagicMock,
    "named tuple": lambda: Point(1, 2, 3, 4, 5),
    "int keys": lambda: {1: 2},
    "own keys": lambda: {Point(1, 2, 3, 4, 5): 1},
}

#: Exceptions by name.
EXCEPTIONS = {
    "frozen": lambda: Declined(5),
    "frozen of frozen": lambda: Declined(Declined(1)),
    "no arguments": NoArgumentsError,
    "huge": lambda: ValueError(math.factorial(2000)),
    "surrogate": lambda: ValueError("\ud800"),
    "deep": lambda: ValueError(_deep()),
    "cycle": _cycle,
    "no name": _named("", ""),
    "odd name": _named("\ud800\0", "\ud800"),
    "no module": _named("Named", 5),
    "liar": _named("getcwd", "os"),
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "generator exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "stop": StopIteration,
    "memory": MemoryError,
    "mock": lambda: ValueError(mock.MagicMock()),
    "retry garbage": lambda: Retry("m", ValueError("x"), "garbage"),
    "reject garbage": lambda: Reject(_deep(), requeue=False),
    "ignore": lambda: Ignore(_deep()),
}


def make(recipe):
    """Return the value or exception of a recipe, and whether it is raised.

    A recipe is ``["value" or "raise", name]``, or ``["value" or "raise", names,
    raised, class name]`` and for an exception its base.
    """
    kind, *rest = recipe
    if len(rest) == 1:
        table = VALUES if kind == "value" else EXCEPTIONS
        return table[rest[0]](), kind == "raise"
    made = value(*rest) if kind == "value" else exception(*rest)
    return made, kind == "raise"


def act(recipe):
    """Return the value of a recipe or raise its exception; a task's function."""
    made, is_raised = make(recipe)
    if is_raised:
        raise made
    return made
