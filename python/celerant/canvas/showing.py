"""Canvases as text: the first members, of few levels."""

from __future__ import annotations

import reprlib
from typing import Any

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
        canvas: A group, chain or chord, or what stands in one.
        outside: The canvases it stands in, by id.
    """
    if id(canvas) in outside:
        return "..."
    kind = canvas.get("subtask_type") if isinstance(canvas, dict) else None
    if kind not in {"group", "chain", "chord"}:
        return repr(canvas)
    if len(outside) == _LEVELS:
        return f"{kind}([...])"
    inside = (*outside, id(canvas))
    kwargs = canvas.get("kwargs") or {}
    if kind == "group":
        return f"group({_listed(kwargs.get('tasks'), inside)})"
    if kind == "chord":
        header, body = kwargs.get("header"), shown(kwargs.get("body"), inside)
        return f"chord({_listed(header, inside)}, {body})"
    steps = kwargs.get("tasks") or ()
    texts = [shown(step, inside) for step in steps[:_STEPS]]
    if len(steps) > _STEPS:
        texts.append("...")
    return " | ".join(texts) or "chain()"


def _listed(members: Any, inside: tuple[int, ...]) -> str:
    if isinstance(members, dict):
        return shown(members, inside)
    if not isinstance(members, (list, tuple)):
        return repr(members)
    texts = [shown(member, inside) for member in members[:_MEMBERS]]
    if len(members) > _MEMBERS:
        texts.append("...")
    return f"[{', '.join(texts)}]"
