"""Canvases as plain dicts: every worker reads them, whatever serializer is used."""

from __future__ import annotations

from typing import Any

from celerant.canvas.source import Mapped, Stream

__all__ = ["plain", "plain_list"]

#: Options that hold canvases.
_FOLLOWING = ("link", "link_error", "chain", "chord")
#: What canvases that are no tasks hold others in.
_PARTS = ("tasks", "header", "body", "task")


def plain(canvas: Any) -> Any:
    """Return a copy of a canvas with no class in it that only Celerant has.

    Arguments of tasks are the caller's and stay as they are.
    """
    if not isinstance(canvas, dict):
        return plain_list(canvas)
    copy = dict(canvas)
    copy["options"] = _with_plain(copy.get("options"), _FOLLOWING)
    if copy.get("subtask_type"):
        copy["kwargs"] = _with_plain(copy.get("kwargs"), _PARTS)
    return copy


def plain_list(canvases: Any) -> Any:
    """Return canvases as a list of plain dicts; what is no list stays as it is."""
    if isinstance(canvases, (Mapped, Stream)):
        canvases = canvases.hold()
    if isinstance(canvases, (list, tuple)):
        return [plain(canvas) for canvas in canvases]
    return canvases


def _with_plain(held: Any, names: tuple[str, ...]) -> Any:
    found = {name: plain(held[name]) for name in names if held and held.get(name)}
    return {**held, **found} if found else held
