"""Load what the command line names: an app, a canvas, the result of a group."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from celerant.app.loading import load_app, named
from celerant.canvas.base import Canvas
from celerant.common.printable import shown
from celerant.errors import CelerantError, HandleError
from celerant.results.handle_format import is_handle

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.results.group_result import GroupResult

__all__ = ["attached", "load_app", "load_canvas", "look_here"]


def look_here() -> None:
    """Make modules of the current folder importable, as `python -m` and Celery do."""
    here = os.getcwd()  # noqa: PTH109 - compared as text
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


def load_canvas(path: str) -> Canvas[Any]:
    """Return the canvas at ``module:attribute``; a function there returns it.

    Raises:
        CelerantError: There is no canvas.
    """
    found, attribute = named(path, "", "canvas")
    if callable(found) and not isinstance(found, Canvas):
        found = found()
    if isinstance(found, Canvas):
        return found
    msg = (
        f"{path}: {attribute!r} is no canvas but {shown(found)}; name a signature, "
        "group, chain or chord, or a function that returns one"
    )
    raise CelerantError(msg)


def attached(app: Celerant, text: str) -> GroupResult[Any]:
    """Return the group's result of a handle, or of the id of a saved group.

    Raises:
        HandleError: The text is neither.
        CelerantError: The store is not reachable, or is in one process only.
    """
    if is_handle(text):
        return app.attach(text)
    saved: GroupResult[Any] | None = app.GroupResult.restore(text)
    if saved is None:
        msg = (
            f"{shown(text)} is neither a handle nor the id of a saved group on "
            f"{app.backend.as_uri()}; take `result.handle`, or call `result.save()`"
        )
        raise HandleError(msg)
    return saved
