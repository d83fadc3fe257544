"""A thread that keeps announcements alive while their senders wait.

The thread that feeds a group may be in the group's source for longer than the store
keeps what it has announced.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from celerant.common.per_process import PerProcess

if TYPE_CHECKING:
    from celerant.results.announcing import Announcer

__all__ = ["RENEWER"]

#: The most seconds between two looks, so that the thread ends if senders are gone
#: that came to no end.
_LOOK_INTERVAL = 60.0


class Renewer:
    """Renews the announcements of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: weakref.WeakSet[Announcer] = weakref.WeakSet()
        #: Set if there are others than before.
        self._news = threading.Event()
        #: Whether its thread runs.
        self.is_running = False

    def add(self, announcer: Announcer) -> None:
        """Renew what one has announced, from now on."""
        with self._lock:
            self._kept.add(announcer)
            self._news.set()
            if self.is_running:
                return
            self.is_running = True
        threading.Thread(target=self._run, name="celerant-renew", daemon=True).start()

    def discard(self, announcer: Announcer) -> None:
        """Renew it no more."""
        with self._lock:
            self._kept.discard(announcer)
            self._news.set()

    def _run(self) -> None:
        while (pause := self._look()) is not None:
            self._news.wait(min(pause, _LOOK_INTERVAL))

    def _look(self) -> float | None:
        """Renew what is due; return the seconds until something is, None at the end."""
        with self._lock:
            self._news.clear()
            found = list(self._kept)
            if not found:
                self.is_running = False
                return None
        return min(announcer.renew() for announcer in found)


#: That of this process.
RENEWER = PerProcess(Renewer)
