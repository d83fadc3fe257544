"""Canvases as plain dicts: every worker reads them, whatever serializer is used."""

from __future__ import annotations

from typing import Any

from celerant.canvas.parts import with_following, with_parts
from celerant.canvas.source import Mapped, Stream

__all__ = ["plain"]


def plain(canvas: Any) -> Any:
    """Return a copy without classes that only Celerant has.

    Arguments of tasks are the caller's and stay as they are. So does a value that is
    neither a canvas nor a list of them.
    """
    if isinstance(canvas, dict):
        made = with_following(canvas, plain)
        return with_parts(made, plain) if made.get("subtask_type") else made
    if isinstance(canvas, (Mapped, Stream)):
        canvas = canvas.hold()
    return (
        [plain(one) for one in canvas] if isinstance(canvas, (list, tuple)) else canvas
    )
