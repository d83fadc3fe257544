"""A group's progress as server-sent events, for any server.

An event named ``progress`` tells a change, and one named ``end`` that all members are
done. A stream that ends without it is asked for again by browsers. Source: the WHATWG's
HTML standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import orjson

from celerant.common.lately_used import LatelyUsed
from celerant.common.printable import line
from celerant.errors import CelerantError
from celerant.ui.telling import Counted, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "HEADERS",
    "KEEP_ALIVE",
    "MEDIA_TYPE",
    "STILL_HERE",
    "Followed",
    "Shared",
    "event",
    "events",
]

logger = logging.getLogger("celerant")

MEDIA_TYPE = "text/event-stream"
#: No cache keeps a stream, and no proxy (nginx) holds it back.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: Seconds without a change until a comment keeps proxies awake.
KEEP_ALIVE = 15.0
STILL_HERE = b": still here\n\n"
#: Groups whose streams share a result, and for how many seconds after its first one
#: began: what was sent once more since may have another result.
_SHARED, _SHARED_FOR = 200, 60.0


class Followed(Counted, Protocol):
    """A group's result that a stream follows."""

    @property
    def members(self) -> Any:
        """The states of its members."""

    @property
    def roster(self) -> Any:
        """Their ids."""

    @property
    def backend(self) -> Any:
        """The store of their results."""

    def on(
        self, event: Literal["complete"], callback: Callable[[Any], object]
    ) -> Callable[[], None]:
        """Have `callback` called at an event; return what removes it."""
        ...


T = TypeVar("T", bound=Followed)


class Shared(Generic[T]):
    """The results that open streams follow, one for all streams of a group.

    However many browsers look at a group, its results are read and kept once, and only
    while one of them looks.
    """

    def __init__(self) -> None:
        self._followed: LatelyUsed[weakref.ref[T]] = LatelyUsed(_SHARED, _SHARED_FOR)

    def one_of(self, result: T) -> T:
        """Return the result that streams of this group follow; else this one."""
        key = result.roster.uuid, id(result.backend)
        reference = self._followed.find(key)
        found = None if reference is None else reference()
        if found is None or found.members.barrier.is_complete:
            found = result
            self._followed.put(key, weakref.ref(found))
        return found


async def events(result: Followed, interval: float) -> AsyncIterator[bytes]:
    """Yield events until all members are done, or their store is away.

    Args:
        result: A group's result.
        interval: Seconds between two events, at least.
    """
    over = asyncio.Event()
    last = await _seen(result)
    if last is None:
        return
    off = result.on("complete", lambda _result: over.set())
    try:
        yield event("progress", last)
        quiet = 0.0
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), interval)
            except asyncio.TimeoutError:
                quiet += interval
            now = await _seen(result)
            if now is None:
                return
            if _has_changed(last, now):
                last, quiet = now, 0.0
                yield event("progress", now)
            elif quiet >= KEEP_ALIVE:
                quiet = 0.0
                yield STILL_HERE
        # Members that are sent once more have to be looked at again.
        now = await _seen(result)
        if now is not None:
            yield event("end", now)
    finally:
        # A callback that stays would keep the group for a client that has gone.
        off()


async def _seen(result: Followed) -> dict[str, Any] | None:
    """Return what is told of a group; None if it cannot be known now."""
    members = result.members
    try:
        if members.is_watched or members.barrier.is_complete:
            return told(result)
        # It asks the store, and waits for it.
        return await asyncio.to_thread(told, result)
    except Exception as exc:
        if not isinstance(exc, CelerantError) and not result.backend.is_away(exc):
            raise
        logger.info("the stream of group %s ends: %s", line(result.id), line(exc))
        return None


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
