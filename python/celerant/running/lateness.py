"""Do something a little later, in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lateness"]


class Lateness:
    """Calls a function `delay` seconds after a request, once for many requests."""

    def __init__(self, act: Callable[[], None], delay: float, name: str) -> None:
        """Call `act`, which must not raise, in a daemon thread called `name`."""
        self._act = act
        self._delay = delay
        self._name = name
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Ask for the call; costs nothing if it is asked for already."""
        if not self._asked.is_set():
            if self._thread is None:
                self._start()
            self._asked.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._is_closed:
                thread = threading.Thread(
                    target=self._run, name=self._name, daemon=True
                )
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while not self._is_closed:
            self._asked.wait()
            time.sleep(self._delay)
            # This comes first: a later request may be too late for this call.
            self._asked.clear()
            if not self._is_closed:
                self._act()

    def close(self) -> None:
        """End; the last request may not be called any more."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        self._asked.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
