"""Groups that were cancelled before this worker could hear of it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from celerant._core import monotonic
from celerant.common.group_stamp import GROUP_STAMP, cancel_mark

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.context.request import Request
    from celerant.worker.worker_state import Revocations

__all__ = ["CancelMarks"]

logger = logging.getLogger("celerant.worker")

#: Seconds after which a group is looked up again. A lost connection may have lost the
#: command that cancelled it.
_AGAIN = 60.0
#: The most groups that are remembered.
_MOST = 1000


class CancelMarks:
    """Looks up each group in the store when its first message is about to run."""

    def __init__(self, app: App, revoked: Revocations) -> None:
        self._app = app
        self._revoked = revoked
        #: When each group is due to be looked up again (`monotonic`).
        self._known: dict[str, float] = {}
        self._lock = threading.Lock()

    def look(self, request: Request) -> None:
        """Revoke the group of a task if it was cancelled; cheap for a known group."""
        names = request.stamped_headers
        if not names or GROUP_STAMP not in names:
            return
        stamp = request.stamps.get(GROUP_STAMP)
        if not isinstance(stamp, str):
            return
        if self._known.get(stamp, 0.0) > monotonic():
            return
        with self._lock:
            # One slot asks the store, and the others wait for its answer.
            if self._known.get(stamp, 0.0) <= monotonic():
                self._ask(stamp)

    def _ask(self, stamp: str) -> None:
        backend = self._app.backend
        try:
            if backend.supports_handles and backend.take_aside(cancel_mark(stamp)):
                self._revoked.add_stamps({GROUP_STAMP: [stamp]})
                logger.info("group %s was cancelled", stamp)
        except Exception as exc:  # noqa: BLE001 - unless the store says otherwise it may run
            logger.debug("whether group %s was cancelled is unknown: %r", stamp, exc)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[stamp] = monotonic() + _AGAIN
