"""Groups that were cancelled before this worker was there to hear of it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from celerant._core import monotonic
from celerant.common.group_stamp import GROUP_STAMP, cancel_mark

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.context.request import Request
    from celerant.worker.roll import Revocations

__all__ = ["CancelMarks"]

logger = logging.getLogger("celerant.worker")

#: Seconds after which a group that goes on is looked up again: the word that it is
#: cancelled may be lost with a connection.
_AGAIN = 60.0
#: Groups that are remembered.
_MOST = 1000


class CancelMarks:
    """Looks up each group once, when its first message is about to run."""

    def __init__(self, app: App, revoked: Revocations) -> None:
        self._app = app
        self._revoked = revoked
        #: Until when each group needs no look (monotonic).
        self._known: dict[str, float] = {}
        self._lock = threading.Lock()

    def look(self, request: Request) -> None:
        """Have the group of a task revoked if it was cancelled; cheap if known."""
        names = request.stamped_headers
        if not names or GROUP_STAMP not in names:
            return
        stamp = request.stamps.get(GROUP_STAMP)
        if not isinstance(stamp, str):
            return
        if self._known.get(stamp, 0.0) > monotonic():
            return
        with self._lock:
            # Of many slots one asks, and the others wait for its answer.
            if self._known.get(stamp, 0.0) <= monotonic():
                self._ask(stamp)

    def _ask(self, stamp: str) -> None:
        backend = self._app.backend
        try:
            if backend.supports_handles and backend.take_aside(cancel_mark(stamp)):
                self._revoked.add_stamps({GROUP_STAMP: [stamp]})
                logger.info("group %s was cancelled", stamp)
        except Exception as exc:  # noqa: BLE001 - it may run: nobody says otherwise
            logger.debug("whether group %s was cancelled is unknown: %r", stamp, exc)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[stamp] = monotonic() + _AGAIN
