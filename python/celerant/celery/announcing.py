"""One line in the log says that the swap-in is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import celery
from celery import signals

from celerant._core import build_info

__all__ = ["begin", "end", "tell"]

logger = logging.getLogger("celerant")

#: The receiver's: Celery connects it once.
_ID = "celerant.celery"


class _State:
    """Whether this process has logged the line, or the one that forked it."""

    is_told = False


def begin(obstacle: Callable[[], str | None]) -> None:
    """Log the line when a worker has set up logging, if it is not logged by then.

    Args:
        obstacle: Returns why no group comes to the swap-in; None: they do.
    """

    def hear(**_: Any) -> None:
        tell(obstacle)

    # Sent in a worker's main process alone, after it has read the project's modules.
    signals.celeryd_after_setup.connect(hear, weak=False, dispatch_uid=_ID)


def end() -> None:
    """Hear that the swap-in is uninstalled."""
    signals.celeryd_after_setup.disconnect(dispatch_uid=_ID)
    _State.is_told = False


def tell(obstacle: Callable[[], str | None]) -> None:
    """Log the line, unless it is logged or nobody would read it."""
    if _State.is_told or not logger.isEnabledFor(logging.INFO):
        return
    _State.is_told = True
    reason = obstacle()
    logger.info(
        "the swap-in of celerant %s is installed in celery %s: %s",
        build_info()["version"],
        celery.__version__,
        "groups, chords and chunks leave in volleys"
        if reason is None
        else f"but no group comes to it, {reason}",
    )
