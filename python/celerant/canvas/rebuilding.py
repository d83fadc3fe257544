"""Canvases from their plain dict form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celerant.canvas.base import maybe_signature
from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord_of
from celerant.canvas.group import group
from celerant.canvas.mapping import chunks
from celerant.canvas.signature import Signature
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.canvas.host import Host

__all__ = ["rebuilt"]


def rebuilt(plain: Mapping[str, Any], app: Host | None) -> Any:
    """Return the canvas that a plain dict describes, of the kind that it says.

    Raises:
        CanvasError: The dict is no signature.
    """
    if not isinstance(plain.get("task"), str):
        msg = (
            "not a signature: a dict needs 'task', 'args', 'kwargs', 'options', "
            f"'subtask_type' and 'immutable', got {sorted(map(str, plain))[:6]}"
        )
        raise CanvasError(msg)
    kind, options = plain.get("subtask_type"), dict(plain.get("options") or {})
    if kind == "group":
        members = plain["kwargs"]["tasks"]
        made: group[Any] = group([maybe_signature(m, app) for m in members], app=app)
        made["options"] = options
        return made
    if kind == "chain":
        steps = [maybe_signature(step, app) for step in plain["kwargs"]["tasks"]]
        return Chain(steps, options, app=app)
    if kind == "chord":
        return chord_of(plain, app)
    if kind == "chunks":
        task, items, n = (plain["kwargs"][key] for key in ("task", "it", "n"))
        return chunks(task, items, n, app).set(**options)
    return Signature(
        plain["task"],
        plain.get("args") or (),
        dict(plain.get("kwargs") or {}),
        options,
        kind,
        immutable=bool(plain.get("immutable")),
        app=app,
    )
