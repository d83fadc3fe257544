"""Steps whose errors are logged and end nothing else."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from celerant.common.foreign import class_name, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celerant.context.request import Request

__all__ = ["fields", "logged"]

logger = logging.getLogger("celerant.worker")


@contextlib.contextmanager
def logged(doing: str, request: Request) -> Iterator[None]:
    """Log any exception inside, and go on.

    Args:
        doing: The words before "task ... failed".
        request: The task's.
    """
    try:
        yield
    except BaseException as exc:  # noqa: BLE001 - the slot and its message come first
        logger.error(  # noqa: TRY400 - its text may be code of its own
            "%s task %s[%s] failed (%s: %s)",
            doing,
            request.task,
            request.id,
            class_name(exc),
            said(exc),
            extra=fields(request),
        )


def fields(request: Request) -> dict[str, Any]:
    """Return a task's part of a log record, for `extra`: formatters may show it."""
    return {
        "task_name": request.task,
        "task_id": request.id,
        "group_id": request.group,
        "root_id": request.root_id,
    }
