"""Sending from an event loop, which must not wait for a broker."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from celerant.per_process import PerProcess

__all__ = ["LoopSender"]

T = TypeVar("T")


class LoopSender:
    """One thread that sends for all event loops of an app; starts with the first."""

    def __init__(self) -> None:
        self._own = PerProcess(_Own)

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
        own = self._own.get()
        with own.lock:
            executor, own.executor = own.executor, None
        if executor is not None:
            executor.shutdown(wait=True)

    def _open(self) -> ThreadPoolExecutor:
        own = self._own.get()
        with own.lock:
            if own.executor is None:
                own.executor = ThreadPoolExecutor(1, "celerant-send")
            return own.executor


class _Own:
    """The thread of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None
