"""Callbacks of a group's events, in threads and event loops."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from celerant.errors import CelerantError
from celerant.results.tracking.callbacks import Each, Once, called

if TYPE_CHECKING:
    from celerant.results.tracking.callbacks import Event
    from celerant.results.tracking.members import Members

__all__ = ["GroupEvent", "MemberEvent", "call_on"]

#: Events whose callbacks get the group's result, and those whose callbacks get a
#: member's.
GroupEvent: TypeAlias = Literal["sealed", "complete", "success"]
MemberEvent: TypeAlias = Literal["first_failure", "member"]
_EVENTS = ("sealed", "complete", "success", "first_failure", "member")


class _Caller:
    """Calls a user's function, in the event loop in which it was registered if any."""

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self._callback = callback
        self._is_off = False
        #: Running coroutines, which nothing else holds.
        self._running: set[asyncio.Future[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        if self._loop is None and inspect.iscoroutinefunction(callback):
            msg = (
                "a callback that is a coroutine function needs an event loop to run "
                "in: call `on` in one, or give a plain function"
            )
            raise TypeError(msg)

    def stop(self) -> None:
        """Make no more calls."""
        self._is_off = True

    def call(self, make: Callable[[], list[Any]]) -> None:
        """Call the function with each item that `make` returns."""
        if self._loop is None:
            self._call_each(make())
            return
        # A closed loop raises, and no call is wanted there.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: self._call_each(make()))

    def _call_each(self, items: list[Any]) -> None:
        for item in items:
            if not self._is_off:
                called(partial(self._call_one, item))

    def _call_one(self, item: Any) -> None:
        found = self._callback(item)
        if self._loop is not None and isinstance(found, Awaitable):
            future = asyncio.ensure_future(found, loop=self._loop)
            self._running.add(future)
            future.add_done_callback(self._running.discard)


def call_on(
    event: str,
    members: Members,
    callback: Callable[[Any], object],
    *,
    whole: Any,
    member: Callable[[int], Any],
) -> Callable[[], None]:
    """Have `callback` called at an event of a group.

    Args:
        event: The event's name.
        members: The group's members.
        callback: Called with `whole` or with a member's result.
        whole: The group's result.
        member: Returns a member's result by its index.

    Returns:
        A function that removes the callback.

    Raises:
        ValueError: There is no such event.
        TypeError: `callback` is not callable, or needs an event loop.
    """
    if event not in _EVENTS:
        msg = f"no event {event!r}: there are {', '.join(map(repr, _EVENTS))}"
        raise ValueError(msg)
    if not callable(callback):
        msg = f"a callback is a function of one argument, not {callback!r}"
        raise TypeError(msg)
    caller = _Caller(callback)
    entry: Event
    if event == "member":
        each = entry = Each(
            members, lambda indices: caller.call(lambda: list(map(member, indices)))
        )
        each.begin()
    elif event == "first_failure":
        entry = Once(event, lambda: caller.call(partial(_failed, members, member)))
    else:
        entry = Once(event, lambda: caller.call(lambda: [whole]))
    members.register(entry)

    def take_off() -> None:
        caller.stop()
        # The consumer holds members with callbacks; after the last one it lets go.
        if members.drop(entry) and not members.callbacks:
            with contextlib.suppress(CelerantError):
                members.keep()

    return take_off


def _failed(members: Members, member: Callable[[int], Any]) -> list[Any]:
    index = members.failed_member()
    return [] if index is None else [member(index)]
