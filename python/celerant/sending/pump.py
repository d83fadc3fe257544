"""The items of an async iterable, drawn in its event loop, for a thread that sends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterable, Iterator
from typing import Any

from celerant.canvas.source import AsyncStream, stream_in
from celerant.errors import CelerantError

__all__ = ["Pump", "open_pump"]

#: Items that are drawn ahead, and how few are left when more are drawn.
_MOST, _FEW = 1000, 500
#: Seconds between two looks whether the loop was closed, of which nobody tells.
_LOOK_INTERVAL = 0.5
_OWN_CANCEL = "the group's source raised CancelledError: what it awaits was cancelled"


def open_pump(canvas: Any, app: Any) -> None:
    """Have the running event loop draw a group's members, if they come from it.

    Args:
        canvas: What is about to be sent.
        app: Who sends it: nobody can look at its first member for another.
    """
    source = canvas["kwargs"].get("tasks") if isinstance(canvas, dict) else None
    stream = stream_in(source)
    if isinstance(stream, AsyncStream) and stream.given is not None:
        items, stream.given = stream.given, None
        stream.draw(Pump(items))
        canvas.bind(app)


class Pump:
    """Draws items in the running event loop; iterated over once, by a thread."""

    def __init__(self, items: AsyncIterable[Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._drawn: deque[Any] = deque()
        self._error: BaseException | None = None
        self._is_over = False
        #: There are items, or it is over; for the thread.
        self._news = threading.Event()
        #: Few items are left; for the loop.
        self._wanted = asyncio.Event()
        self._task = self._loop.create_task(self._draw(items))

    async def _draw(self, items: AsyncIterable[Any]) -> None:
        try:
            async for item in items:
                self._drawn.append(item)
                self._tell()
                while len(self._drawn) >= _MOST:
                    self._wanted.clear()
                    # Cleared first, looked second.
                    if len(self._drawn) >= _MOST:
                        await self._wanted.wait()
        except asyncio.CancelledError as exc:
            is_ours = not _is_cancelled()
            self._error = CelerantError(_OWN_CANCEL) if is_ours else _cut_short()
            self._error.__cause__ = exc
            if not is_ours:
                raise
        except BaseException as exc:  # noqa: BLE001 - raised by whoever iterates
            self._error = exc
        finally:
            self._is_over = True
            self._news.set()
            await self._close(items)

    async def _close(self, items: AsyncIterable[Any]) -> None:
        """Have an async generator give back what it holds, as others are told to."""
        close = getattr(items, "aclose", None)
        if close is None:
            return
        try:
            await close()
        except Exception as exc:  # noqa: BLE001 - the generator's own code
            self._error = self._error or exc

    def _tell(self) -> None:
        if not self._news.is_set():
            self._news.set()

    def __iter__(self) -> Iterator[Any]:
        drawn = self._drawn
        while True:
            try:
                item = drawn.popleft()
            except IndexError:
                self._news.clear()
                # Cleared first, looked second.
                if not drawn and not self._is_over:
                    self._wait()
                if not drawn and self._is_over:
                    break
                continue
            if len(drawn) == _FEW:
                self._in_loop(self._wanted.set)
            yield item
        if self._error is not None:
            raise self._error

    @property
    def at_hand(self) -> int:
        """How many items are drawn."""
        return len(self._drawn)

    def _wait(self) -> None:
        """Wait for items, or for the end."""
        while not self._news.wait(_LOOK_INTERVAL):
            # A loop that only rests may go on; one that is closed ends no task of its.
            if self._loop.is_closed():
                self._error = self._error or _cut_short()
                self._is_over = True
                return

    def close(self) -> None:
        """Draw no more; whoever iterates gets what is drawn, and the end."""
        self._is_over = True
        self._news.set()
        self._in_loop(self._task.cancel)

    def _in_loop(self, act: Any) -> None:
        # A loop that is closed has no tasks any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act)


def _is_cancelled() -> bool:
    """Whether the running task is told to end, and not something that it awaits."""
    # Before Python 3.11 a task does not tell.
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or cancelling() > 0


def _cut_short() -> CelerantError:
    return CelerantError(
        "the event loop ended that reads the group's source, before it was at its end; "
        "wait for the group in that loop"
    )
