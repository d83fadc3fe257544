"""What a task changes of its own request, as Celery's tasks do.

``self.request.chain = None`` in a task ends its chain. A child process has a copy of
the request, and its worker goes on by the other one.
"""

from __future__ import annotations

import pickle
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from celerant.canvas.data import CanvasData

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["apply_changes", "changes_since", "followers_of"]

#: What is read of a request once its task has run.
_FIELDS = ("callbacks", "chain", "errbacks", "chord")
_values = attrgetter(*_FIELDS)


def followers_of(request: Request) -> bytes | None:
    """Return what follows a task, for `changes_since`; None is nothing."""
    values = _values(request)
    return pickle.dumps(values) if any(values) else None


def changes_since(before: bytes | None, request: Request) -> bytes | None:
    """Return what follows a task, as bytes; None if nothing was changed.

    Args:
        before: What `followers_of` returned before the task ran.
        request: The task's.

    Raises:
        Exception: What the task has put there cannot be pickled.
    """
    values = _values(request)
    if before is None and not any(values):
        return None
    # The same objects give the same bytes, so that this also sees what was changed
    # inside them.
    now = pickle.dumps(values)
    return None if now == before else now


def apply_changes(request: Request, changes: bytes) -> None:
    """Let a request have what `changes_since` returned."""
    values = pickle.loads(changes)  # noqa: S301 - made by our own child
    for name, value in zip(_FIELDS, values, strict=True):
        setattr(request, name, _without_app(value))


def _without_app(value: Any) -> Any:
    """Return canvases as plain dicts: they have lost their app on the way."""
    if isinstance(value, (list, tuple)):
        return [_without_app(one) for one in value]
    return dict(value) if isinstance(value, CanvasData) else value
