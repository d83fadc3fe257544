"""Starlette and FastAPI: an app for as long as the server runs, progress as events.

It needs Starlette, the extra ``starlette``::

    from celerant.starlette import lifespan, progress_events

    web = FastAPI(lifespan=lifespan(app))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from celerant.common.extras import extra
from celerant.ui.bar import done_and_failed

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.responses import StreamingResponse

    from celerant.app import Celerant
    from celerant.results.group_result import GroupResult

__all__ = ["celerant_app", "lifespan", "progress_events"]

_STATE = "celerant"
#: Seconds between two events, and without a change until a comment keeps proxies awake.
_INTERVAL = 0.25
_KEEP_ALIVE = 15.0


def lifespan(
    app: Celerant, *, worker: bool = False, **options: Any
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan for Starlette or FastAPI that closes `app` at the end.

    Handlers find it as ``request.state.celerant``, or by `celerant_app`.

    Args:
        app: The Celerant app.
        worker: Also run a worker in this process meanwhile.
        options: Of `Celerant.worker`.
    """

    @asynccontextmanager
    async def living(_web: Any) -> AsyncIterator[dict[str, Any]]:
        runs = app.worker(**options) if worker else None
        try:
            if runs is not None:
                await asyncio.to_thread(runs.start)
            yield {_STATE: app}
        finally:
            # Both wait for a broker: the loop goes on meanwhile.
            if runs is not None:
                await asyncio.to_thread(runs.stop)
            await asyncio.to_thread(app.close)

    return living


def celerant_app(request: HTTPConnection) -> Celerant:
    """Return the app of `lifespan`: a dependency, ``Depends(celerant_app)``.

    Raises:
        AttributeError: The server was made without `lifespan`.
    """
    found: Celerant = getattr(request.state, _STATE)
    return found


# FastAPI reads the parameter's type, and `from __future__ import annotations` hides it.
def _read_types() -> None:
    requests = extra(
        "starlette.requests", of="starlette", needed_by="celerant.starlette"
    )
    celerant_app.__annotations__["request"] = requests.Request


_read_types()


def progress_events(
    result: GroupResult[Any], *, interval: float = _INTERVAL
) -> StreamingResponse:
    """Return a response of server-sent events that tell a group's progress.

    An event named ``progress`` for each change, and one named ``end`` when all members
    are done; their data is JSON: ``{"id", "total", "done", "failed", "counts"}``. In a
    browser: ``new EventSource(url).addEventListener("progress", ...)``.

    Who may see the group is for the handler to check before.

    Args:
        result: A group's result, for instance from `Celerant.attach`.
        interval: Seconds between two events, at least.
    """
    responses = extra(
        "starlette.responses", of="starlette", needed_by="progress_events()"
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response: StreamingResponse = responses.StreamingResponse(
        _events(result, interval), media_type="text/event-stream", headers=headers
    )
    return response


async def _events(result: GroupResult[Any], interval: float) -> AsyncIterator[bytes]:
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def tell(_result: object) -> None:
        # The loop may be closed by the time that the group ends.
        if not loop.is_closed():
            loop.call_soon_threadsafe(over.set)

    # The first look asks the store, and waits for it.
    last = await asyncio.to_thread(result.counts)
    result.then(tell)
    yield _event("progress", result.id, last)
    quiet = 0.0
    while not over.is_set():
        try:
            await asyncio.wait_for(over.wait(), interval)
        except asyncio.TimeoutError:
            quiet += interval
        counts = result.counts()
        if counts != last:
            last, quiet = counts, 0.0
            yield _event("progress", result.id, counts)
        elif quiet >= _KEEP_ALIVE:
            quiet = 0.0
            yield b": still here\n\n"
    yield _event("end", result.id, result.counts())


def _event(name: str, group_id: str, counts: dict[str, int]) -> bytes:
    total, done, failed = done_and_failed(counts)
    told = {
        "id": group_id,
        "total": total,
        "done": done,
        "failed": failed,
        "counts": counts,
    }
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(told))
