"""Watchers of dispatches: metrics and traces.

There are none by default; then a dispatch costs one look at `WATCHERS`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from celerant.errors.report import Report

__all__ = ["WATCHERS", "Departure", "Watcher", "depart"]

logger = logging.getLogger("celerant")


class Departure:
    """One dispatch, from before its first message to after its last."""

    __slots__ = ("_watched", "app_name", "group_id", "headers", "queues", "tasks")

    def __init__(self, app_name: str, group_id: str | None) -> None:
        #: Name of the app that sends.
        self.app_name = app_name
        #: None for a single task, a chain or a chord's body.
        self.group_id = group_id
        #: Headers that a watcher puts into every message, before anything leaves; a
        #: member's own go before them.
        self.headers: dict[str, str] = {}
        #: Names of the tasks and queues of messages that were drawn anew: of all if
        #: there are headers.
        self.tasks: set[str] = set()
        self.queues: set[str] = set()
        self._watched: list[Watcher] = []

    def begin(self) -> Departure:
        """Tell all watchers that it begins."""
        for watcher in tuple(WATCHERS):
            try:
                watcher.begin(self)
            except Exception:
                # As with receivers of signals, tasks leave despite its error.
                logger.exception("a dispatch is not watched by %r", watcher)
            else:
                self._watched.append(watcher)
        return self

    def end(self, report: Report | None, error: BaseException | None) -> None:
        """Tell them that it is over.

        Args:
            report: The fates of members; None if nothing has left.
            error: The reason why not all left, if there is one.
        """
        for watcher in self._watched:
            try:
                watcher.end(self, report, error)
            except Exception:
                logger.exception("the end of a dispatch is not watched by %r", watcher)


class Watcher(Protocol):
    """Hears of each dispatch, on the thread that sends."""

    def begin(self, departure: Departure) -> None:
        """Hear that a dispatch begins; `departure.headers` may be added to."""
        ...

    def end(
        self,
        departure: Departure,
        report: Report | None,
        error: BaseException | None,
    ) -> None:
        """Hear that it is over."""
        ...


#: The watchers; a watcher adds and removes itself.
WATCHERS: list[Watcher] = []


def depart(app_name: str, group_id: str | None) -> Departure | None:
    """Return a dispatch that is watched, begun; None if nobody watches."""
    return Departure(app_name, group_id).begin() if WATCHERS else None
