"""Load what the command line names: an app, a canvas, the result of a group."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celerant.app import loading
from celerant.canvas.base import Canvas
from celerant.canvas.group import group
from celerant.common.printable import shown
from celerant.errors import CelerantError, HandleError
from celerant.results.handle_format import is_handle

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.results.group_result import GroupResult

__all__ = ["attached", "load_app", "load_canvas", "load_members", "look_here"]

_RESULTS = (
    "`celerant {command}` shows results of Celerant's apps; this app's are read in "
    "Python, by app.AsyncResult(ID) and app.GroupResult.restore(ID)"
)
_GROUPS = "`celerant {command}` is for groups that Celerant's apps have sent"
#: What each command says of an app that is Celery's own.
_OF_CELERY = {
    "worker": "start its worker with `celery -A {path} worker`",
    "doctor": "`celerant doctor` is for Celerant's apps; here `celery -A {path} "
    "inspect ping` tells which workers answer, and `celery -A {path} inspect "
    "active_queues` what they consume",
    "failures": _RESULTS,
    "report": _RESULTS,
    "result": _RESULTS,
    "watch": _RESULTS,
    "retry": _GROUPS,
    "cancel": f"{_GROUPS}; here app.GroupResult.restore(ID).revoke() serves, in Python",
}


def look_here() -> None:
    """Make modules of the current folder importable, as `python -m` and Celery do."""
    here = os.getcwd()  # noqa: PTH109 - compared as text
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


def load_app(path: str, command: str = "worker") -> Celerant:
    """Return the app at ``module:attribute``.

    Args:
        path: Its name.
        command: The command that wants it, for errors.

    Raises:
        CelerantError: There is no such app.
    """
    found, attribute = loading.named(path, "-A ", "app")
    # Without Celery there is no app of Celery's; a user's module may have its name.
    theirs = getattr(sys.modules.get("celery"), "Celery", None)
    if isinstance(theirs, type) and isinstance(found, theirs):
        advice = _OF_CELERY.get(command, _GROUPS).format(path=path, command=command)
        msg = f"-A {path}: {attribute!r} is an app of Celery's own; {advice}"
        raise CelerantError(msg)
    return loading.as_app(found, attribute, f"-A {path}")


def load_canvas(path: str) -> Canvas[Any]:
    """Return the canvas at ``module:attribute``; a function there returns it.

    Raises:
        CelerantError: There is no canvas.
    """
    found, attribute = _made(path, "canvas")
    if isinstance(found, Canvas):
        return found
    msg = (
        f"{path}: {attribute!r} is no canvas but {shown(found)}; name a signature, "
        "group, chain or chord, or a function that returns one"
    )
    raise CelerantError(msg)


def load_members(path: str) -> Any:
    """Return the group at ``module:attribute``, or another iterable of signatures.

    A function there returns it.

    Raises:
        CelerantError: There is none.
    """
    found, attribute = _made(path, "group")
    is_iterable = isinstance(found, (Iterable, AsyncIterable))
    if isinstance(found, group) or (
        is_iterable and not isinstance(found, (str, bytes, Mapping))
    ):
        return found
    msg = (
        f"{path}: {attribute!r} is no group but {shown(found)}; name the group that "
        "was sent, an iterable of its signatures, or a function that returns one"
    )
    raise CelerantError(msg)


def _made(path: str, default: str) -> tuple[Any, str]:
    """Return the object at a path, or what a function there returns; and its name."""
    found, attribute = loading.named(path, "", default)
    if callable(found) and not isinstance(found, Canvas):
        found = found()
    return found, attribute


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
