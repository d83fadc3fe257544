"""A group's progress as server-sent events, for any server.

An event named ``progress`` tells a change, and one named ``end`` that all members are
done. Source: the WHATWG's HTML standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson

from celerant.ui.telling import Counted, told

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HEADERS", "KEEP_ALIVE", "MEDIA_TYPE", "STILL_HERE", "event", "events"]

MEDIA_TYPE = "text/event-stream"
#: No cache keeps a stream, and no proxy (nginx) holds it back.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: Seconds without a change until a comment keeps proxies awake.
KEEP_ALIVE = 15.0
STILL_HERE = b": still here\n\n"


async def events(result: Counted, interval: float) -> AsyncIterator[bytes]:
    """Yield events until all members are done.

    Args:
        result: A group's result.
        interval: Seconds between two events, at least.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def tell(_result: object) -> None:
        # The loop may be closed by the time that the group ends.
        if not loop.is_closed():
            loop.call_soon_threadsafe(over.set)

    # The first look asks the store, and waits for it.
    last = await asyncio.to_thread(told, result)
    result.then(tell)
    yield event("progress", last)
    quiet = 0.0
    while not over.is_set():
        try:
            await asyncio.wait_for(over.wait(), interval)
        except asyncio.TimeoutError:
            quiet += interval
        now = told(result)
        if _has_changed(last, now):
            last, quiet = now, 0.0
            yield event("progress", now)
        elif quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield STILL_HERE
    yield event("end", told(result))


def _has_changed(last: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    # Rate and time left change by themselves.
    return (last["counts"], last["total"]) != (now["counts"], now["total"])


def event(name: str, data: Mapping[str, Any], *, retry: int | None = None) -> bytes:
    """Return one event.

    Args:
        name: Its name.
        data: Written as JSON.
        retry: Milliseconds after which a client asks again if the stream ends.
    """
    again = b"" if retry is None else b"retry: %d\n" % retry
    return b"%bevent: %b\ndata: %b\n\n" % (again, name.encode(), orjson.dumps(data))
