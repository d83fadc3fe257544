"""Canvases as text: the first members, of few levels."""

from __future__ import annotations

import reprlib
from itertools import islice
from typing import Any

from celerant.canvas.kinds import kind_of

__all__ = ["called", "shown"]

#: Members of a group, steps of a chain, and canvases inside each other that are shown.
_MEMBERS = 3
_STEPS = 8
_LEVELS = 4

_ARGUMENT = reprlib.Repr()
_ARGUMENT.maxstring = _ARGUMENT.maxother = _ARGUMENT.maxlong = 120
_ARGUMENT.maxlist = _ARGUMENT.maxtuple = _ARGUMENT.maxdict = 20


def called(task: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return a call as text, long arguments cut."""
    parts = [_ARGUMENT.repr(arg) for arg in args]
    parts += [f"{name}={_ARGUMENT.repr(value)}" for name, value in kwargs.items()]
    return f"{task}({', '.join(parts)})"


def shown(canvas: Any, outside: tuple[int, ...] = ()) -> str:
    """Return a canvas as text.

    Args:
        canvas: A group, chain or chord, or a part of one.
        outside: The canvases around it, by id.
    """
    if id(canvas) in outside:
        return "..."
    kind = kind_of(canvas)
    if not kind.is_composed:
        return repr(canvas)
    if len(outside) == _LEVELS:
        return f"{kind.name}([...])"
    inside = (*outside, id(canvas))
    kwargs = canvas.get("kwargs") or {}
    if kind.name == "chain":
        return (
            " | ".join(_texts(kwargs.get("tasks") or (), inside, _STEPS)) or "chain()"
        )
    held = [_listed(kwargs.get(key), inside) for key in kind.holds]
    return f"{kind.name}({', '.join(held)})"


def _listed(held: Any, inside: tuple[int, ...]) -> str:
    if isinstance(held, (list, tuple)):
        return f"[{', '.join(_texts(held, inside, _MEMBERS))}]"
    return shown(held, inside)


def _texts(canvases: Any, inside: tuple[int, ...], most: int) -> list[str]:
    texts = [shown(canvas, inside) for canvas in islice(canvases, most)]
    return [*texts, "..."] if len(canvases) > most else texts
