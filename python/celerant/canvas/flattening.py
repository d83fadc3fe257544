"""Canvases as flat lists of rows, for pickles and deep copies.

Canvases may be nested deeper than Python's recursion goes, and hold each other in a
circle.
"""

from __future__ import annotations

import copy
from typing import Any

from celerant.canvas.base import Canvas
from celerant.canvas.source import Mapped, Stream

__all__ = ["deep_copy", "restored", "rows_of"]

#: Under which keyword arguments canvases hold others.
_HELD = {"group": ("tasks",), "chain": ("tasks",), "chord": ("header", "body")}

#: A canvas's class, its six keys and its group's seed.
Row = tuple[type[Canvas[Any]], dict[str, Any], "bytes | None"]


class At:
    """Stands for the canvas of a row, by number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return At, (self.number,)


def rows_of(root: Canvas[Any]) -> list[Row]:
    """Return a canvas and all that it holds, itself first; generators are held."""
    return [
        (type(canvas), plain, getattr(canvas, "_seed", None))
        for canvas, plain in _walked(root)
    ]


def restored(rows: list[Row]) -> Any:
    """Return the canvas of `rows_of`."""
    made = [_empty(kind, seed) for kind, _, seed in rows]
    for canvas, (_, plain, _) in zip(made, rows, strict=True):
        _fill(canvas, plain, made)
    return made[0]


def deep_copy(root: Canvas[Any], memo: dict[int, Any]) -> Any:
    """Return a copy that shares nothing with `root` but the app."""
    walked = _walked(root)
    made = []
    for canvas, _ in walked:
        new = _empty(type(canvas), getattr(canvas, "_seed", None))
        new._app = canvas._app  # noqa: SLF001 - of the same room
        memo[id(canvas)] = new
        made.append(new)
    for new, (_, plain) in zip(made, walked, strict=True):
        _fill(new, copy.deepcopy(plain, memo), made)
    return made[0]


def _walked(root: Canvas[Any]) -> list[tuple[Canvas[Any], dict[str, Any]]]:
    """Return canvases and their keys, in which others are replaced by their number."""
    found = [root]
    numbers = {id(root): 0}

    def numbered(value: Any) -> Any:
        if not isinstance(value, Canvas) or value["subtask_type"] not in _HELD:
            return value
        number = numbers.setdefault(id(value), len(found))
        if number == len(found):
            found.append(value)
        return At(number)

    walked = []
    for canvas in found:  # grows
        kwargs = dict(canvas["kwargs"])
        for key in _HELD[canvas["subtask_type"]]:
            held = kwargs.get(key)
            if isinstance(held, (Stream, Mapped)):
                held = canvas["kwargs"][key] = held.hold()
            if isinstance(held, (list, tuple)):
                kwargs[key] = [numbered(value) for value in held]
            else:
                kwargs[key] = numbered(held)
        walked.append((canvas, {**canvas, "kwargs": kwargs}))
    return walked


def _empty(kind: type[Canvas[Any]], seed: bytes | None) -> Any:
    made: Any = kind.__new__(kind)
    made._app = None  # noqa: SLF001 - of the same room
    if hasattr(kind, "_seed"):
        made._seed, made._owns = seed, True  # noqa: SLF001 - of the same room
    return made


def _fill(canvas: Any, plain: dict[str, Any], made: list[Any]) -> None:
    def found(value: Any) -> Any:
        return made[value.number] if isinstance(value, At) else value

    kwargs = plain["kwargs"]
    for key in _HELD[plain["subtask_type"]]:
        held = kwargs.get(key)
        kwargs[key] = list(map(found, held)) if isinstance(held, list) else found(held)
    canvas.update(plain)
