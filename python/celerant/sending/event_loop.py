"""Sending from an event loop, which must not wait for a broker."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["LoopSender"]

T = TypeVar("T")


class LoopSender:
    """One thread that sends for all event loops of an app; starts with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    async def send(self, act: Callable[[], T]) -> T:
        """Run `act` on the thread, after what others have sent, and return its result.

        Cancelled while it waits for its turn, nothing is sent; later, all is.
        """
        loop = asyncio.get_running_loop()
        # A task that sends stays the parent of what it sends.
        context = contextvars.copy_context()
        return await loop.run_in_executor(self._open(), context.run, act)

    def close(self) -> None:
        """Let the thread end once it has sent what waits; sending starts another."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)

    def after_fork(self) -> None:
        """Forget the parent's thread."""
        self._lock = threading.Lock()
        self._executor = None

    def _open(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, "celerant-send")
            return self._executor
