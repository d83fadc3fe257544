"""Canvases as flat lists of rows, for pickles and deep copies.

Canvases may be nested deeper than Python's recursion goes, and hold each other in a
circle.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from celerant.canvas.data import CanvasData
from celerant.canvas.kinds import kind_of
from celerant.canvas.parts import walk, with_parts

__all__ = ["deep_copy", "restored", "rows_of"]

#: A canvas's class, its six keys and its group's seed.
Row = tuple[type[CanvasData], dict[str, Any], "bytes | None"]


class At:
    """Stands for the canvas of a row, by number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return At, (self.number,)


def rows_of(root: CanvasData) -> list[Row]:
    """Return a canvas and all that it holds, itself first; generators are held."""
    return [
        (type(canvas), plain, getattr(canvas, "seed", None))
        for canvas, plain in _apart(root)
    ]


def restored(rows: list[Row]) -> Any:
    """Return the canvas of `rows_of`."""
    made = [_empty(cls, seed) for cls, _, seed in rows]
    for canvas, (_, plain, _) in zip(made, rows, strict=True):
        canvas.update(with_parts(plain, _finder(made)))
    return made[0]


def deep_copy(root: CanvasData, memo: dict[int, Any]) -> Any:
    """Return a copy that shares only the app with `root`."""
    rows = _apart(root)
    made = []
    for canvas, _ in rows:
        new = _empty(type(canvas), getattr(canvas, "seed", None))
        new._app = canvas._app  # noqa: SLF001 - of the same room
        memo[id(canvas)] = new
        made.append(new)
    for new, (_, plain) in zip(made, rows, strict=True):
        new.update(with_parts(copy.deepcopy(plain, memo), _finder(made)))
    return made[0]


def _apart(root: CanvasData) -> list[tuple[CanvasData, dict[str, Any]]]:
    """Return canvases and their keys; canvases in the keys are replaced by numbers."""
    found = [part.canvas for part in walk(root, takes=_is_composed, hold=True)]
    places = {id(canvas): At(number) for number, canvas in enumerate(found)}

    def placed(value: Any) -> Any:
        return places.get(id(value), value)

    return [(canvas, with_parts(canvas, placed)) for canvas in found]


def _is_composed(value: Any) -> bool:
    if not isinstance(value, CanvasData) or value["subtask_type"] is None:
        return False
    return kind_of(value).is_composed


def _empty(cls: type[CanvasData], seed: bytes | None) -> Any:
    made: Any = cls.__new__(cls)
    made._app = None  # noqa: SLF001 - of the same room
    if hasattr(cls, "seed"):
        made.seed, made._owns = seed, True  # noqa: SLF001 - of the same room
    return made


def _finder(made: list[Any]) -> Callable[[Any], Any]:
    def found(value: Any) -> Any:
        return made[value.number] if isinstance(value, At) else value

    return found
