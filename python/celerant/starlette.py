"""A lifespan for Starlette and FastAPI, and a group's progress as events.

It needs Starlette, the extra ``starlette``::

    from celerant.starlette import lifespan, progress_events

    web = FastAPI(lifespan=lifespan(app))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from celerant.common.extras import extra
from celerant.ui.events import HEADERS, MEDIA_TYPE, events

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection
    from starlette.responses import StreamingResponse

    from celerant.app import Celerant
    from celerant.results.group_result import GroupResult

__all__ = ["celerant_app", "lifespan", "progress_events"]

_STATE = "celerant"
#: The least seconds between two events.
_INTERVAL = 0.25


def lifespan(
    app: Celerant, *, worker: bool = False, **options: Any
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan for Starlette or FastAPI that closes `app` at the end.

    Handlers find the app as ``request.state.celerant``, or by `celerant_app`.

    Args:
        app: The Celerant app.
        worker: Whether a worker runs in this process meanwhile.
        options: Those of `Celerant.worker`.
    """

    @asynccontextmanager
    async def living(_web: Any) -> AsyncIterator[dict[str, Any]]:
        runs = app.worker(**options) if worker else None
        try:
            if runs is not None:
                await asyncio.to_thread(runs.start)
            yield {_STATE: app}
        finally:
            # In threads, because both may wait for a broker, and the loop must go on.
            if runs is not None:
                await asyncio.to_thread(runs.stop)
            await asyncio.to_thread(app.close)

    return living


def celerant_app(request: HTTPConnection) -> Celerant:
    """Return the app of `lifespan`, as a dependency: ``Depends(celerant_app)``.

    Raises:
        AttributeError: The server was made without `lifespan`.
    """
    found: Celerant = getattr(request.state, _STATE)
    return found


# FastAPI reads the parameter's type, which `from __future__ import annotations` hides.
def _read_types() -> None:
    requests = extra(
        "starlette.requests", of="starlette", needed_by="celerant.starlette"
    )
    celerant_app.__annotations__["request"] = requests.Request


_read_types()


def progress_events(
    result: GroupResult[Any], *, interval: float = _INTERVAL
) -> StreamingResponse:
    """Return a response of server-sent events about a group's progress.

    It sends an event ``progress`` for each change, and an event ``end`` when all
    members are done. Their data are JSON: ``{"id", "total", "done", "failed", "rate",
    "eta", "counts"}``. ``total`` is null while members are still being sent. In a
    browser: ``new EventSource(url).addEventListener("progress", ...)``. If the result
    store is away, the stream ends without ``end``, and a browser asks again.

    The handler must check before that the user may see the group.

    Args:
        result: A group's result, for instance from `Celerant.attach`.
        interval: The least seconds between two events.
    """
    responses = extra(
        "starlette.responses", of="starlette", needed_by="progress_events()"
    )
    response: StreamingResponse = responses.StreamingResponse(
        events(result, interval), media_type=MEDIA_TYPE, headers=HEADERS
    )
    return response
