"""The body of a chord whose header ends in a stock worker, if it wants a `GroupResult`.

Celery's Redis backend sends the body with all results in its message; it does so after
the header's last task, by the `apply_async` of the body's own task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant.common.foreign import said
from celerant.errors import CelerantError, ChordError
from celerant.results.backends.chords import CompleteChord
from celerant.running.header_results import header_handle, takes_result

if TYPE_CHECKING:
    import celery

__all__ = ["apply_with_handle"]

logger = logging.getLogger("celerant.worker")


def apply_with_handle(made: celery.Celery, task: Any) -> Callable[..., Any]:
    """Return the `apply_async` of Celery's task for a body that takes a result.

    Args:
        made: Celery's app, whose current task is the header's last one.
        task: Ours.
    """

    def apply_async(
        theirs: Any, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any
    ) -> Any:
        handle = _handle_for(made, task, args)
        if handle is not None:
            args = (handle, *args[1:])
        parent: Any = super(type(theirs), theirs)
        return parent.apply_async(args, kwargs, *rest, **options)

    return apply_async


def _handle_for(made: celery.Celery, task: Any, args: Any) -> str | None:
    """Return the handle that replaces the list in `args`, if it is a header's."""
    if not args or not isinstance(args[0], list):
        return None
    current = made.current_worker_task
    request = None if current is None else current.request
    body = getattr(request, "chord", None)
    if request is None or not request.group or not takes_result(task.app.tasks, body):
        return None
    backend = task.app.backend
    try:
        counter = backend.chord_counter()
        if counter is None:
            return None
        chord = CompleteChord(backend, counter, request.group, "")
        return header_handle(chord, backend, body, after=request.id)
    except ChordError:
        # It is not complete, so this call is not Celery's.
        return None
    except CelerantError as exc:
        logger.warning(
            "the body %s of chord %s gets a list instead of a GroupResult: %s",
            task.name,
            request.group,
            said(exc),
        )
        return None
