"""Waits in an event loop: each is a future, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant.results.tracking.waiters import Waiter
from celerant.results.tracking.waiting import refuse_inside_callback

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["wait_in_loop", "waker"]


async def wait_in_loop(
    members: Members,
    is_done: Callable[[], bool],
    index: int | None = None,
    *,
    hears_all: bool = False,
) -> None:
    """Wait until `is_done` holds; a cancelled wait leaves nothing behind.

    Args:
        members: The members that arrive.
        is_done: The condition.
        index: The only member that the condition depends on, if it is one.
        hears_all: Whether each member that comes in may fulfil it.

    Raises:
        CelerantError: The backend is not reached within its retry policy.
        RuntimeError: Inside a `then` callback.
    """
    if is_done():
        return
    refuse_inside_callback(members.backend)
    members.begin()
    loop = asyncio.get_running_loop()
    while not is_done():
        members.raise_error()
        future: asyncio.Future[None] = loop.create_future()
        waiter = Waiter(waker(loop, future), index, hears_all)
        members.waiters.add(waiter)
        try:
            # Checked after it is registered, so that no arrival is missed.
            if not is_done() and members.error is None:
                await future
        finally:
            members.waiters.discard(waiter)


def waker(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]
) -> Callable[[], None]:
    """Return a function that ends `future` from any thread."""

    def wake() -> None:
        # A closed loop raises, and no coroutine waits in it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(partial(_end, future))

    return wake


def _end(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
