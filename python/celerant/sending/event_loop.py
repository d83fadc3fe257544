"""Sending from an event loop, which must not wait for a broker."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from celerant.common.per_process import PerProcess
from celerant.dispatch.interruption import ABANDONED, carry
from celerant.sending.pump import open_pump

__all__ = ["LoopSender"]

T = TypeVar("T")

#: Seconds that a cancelled call waits to learn what has left.
_FAREWELL = 2.0


class LoopSender:
    """One thread that sends for all event loops of an app; starts with the first."""

    open = staticmethod(open_pump)

    def __init__(self) -> None:
        self._own = PerProcess(_Own)

    async def send(self, act: Callable[[], T]) -> T:
        """Run `act` on the thread, after the calls before, and return its result.

        If it is cancelled before its turn, nothing is sent. If it is cancelled later,
        no other chunk leaves, and the error has `result` and `report`, unless a source
        keeps the thread longer than this waits.
        """
        # A task that sends stays the parent of the tasks it sends.
        context = contextvars.copy_context()
        is_abandoned = threading.Event()
        context.run(ABANDONED.set, is_abandoned)
        future = self._started().submit(context.run, act)
        sending = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError as exc:
            if not future.cancel():
                is_abandoned.set()
                await asyncio.wait([sending], timeout=_FAREWELL)
                _say(exc, sending)
            raise

    def close(self) -> None:
        """Let the thread end after the calls that wait; sending starts another."""
        own = self._own.get()
        with own.lock:
            executor, own.executor = own.executor, None
        if executor is not None:
            executor.shutdown(wait=True)

    def _started(self) -> ThreadPoolExecutor:
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


def _say(exc: BaseException, sending: asyncio.Future[Any]) -> None:
    """Tell in a cancellation what has left, if that is known."""
    if not sending.done():
        return
    error = sending.exception()
    if error is exc:
        # A source has raised it, so it has `report` already.
        return
    found = sending.result() if error is None else getattr(error, "result", None)
    report = getattr(found if error is None else error, "report", None)
    if found is not None:
        carry(exc, found, report)
