"""Wait for a task that runs after others: if one of them fails, it does not run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.results.tracking.awaiting import waker
from celerant.results.tracking.listening import Listening
from celerant.results.tracking.waiters import Waiter
from celerant.results.tracking.waiting import deadline_after, refuse_inside_callback

if TYPE_CHECKING:
    from celerant.results.tracking.listening import WaitHooks
    from celerant.results.tracking.members import Members

__all__ = ["Line"]

_FAILED = (Barrier.FAILURE, Barrier.REVOKED)


class Line:
    """A task and the tasks before it.

    If a group comes before it, only tasks before the group are watched. If a member of
    the group fails, the record of the task after the group tells that.

    Args:
        members: The members that have the task.
        index: The task's position there.
        above: The tasks before it, the nearest first.
    """

    def __init__(
        self, members: Members, index: int, above: Iterator[tuple[Members, int]]
    ) -> None:
        self._own = members, index
        #: The tasks before it, the first one first.
        self._above = list(above)[::-1]
        views = [members, *(view for view, _ in self._above)]
        self._views = list({id(view): view for view in views}.values())

    @property
    def is_long(self) -> bool:
        """Whether there are tasks before this one."""
        return bool(self._above)

    def wait(self, timeout: float | None, hooks: WaitHooks | None = None) -> bool:
        """Wait for the task, or for a failure of a task before it.

        Args:
            timeout: Seconds; 0 checks once, None waits for ever.
            hooks: Functions to call meanwhile.

        Returns:
            False if the time has passed.
        """
        if self._is_settled():
            return True
        deadline = deadline_after(timeout)
        with Listening(self._views, hooks) as listening:
            return listening.wait(self._is_settled, deadline)

    async def wait_in_loop(self) -> None:
        """Wait in an event loop, as `wait` does; it may be cancelled."""
        if self._is_settled():
            return
        loop = asyncio.get_running_loop()
        for view in self._views:
            refuse_inside_callback(view.backend)
            view.begin()
        while not self._is_settled():
            self._raise_errors()
            future: asyncio.Future[None] = loop.create_future()
            with self._waiting(waker(loop, future)):
                # Checked after it is registered, so that no arrival is missed.
                if not self._is_settled() and all(v.error is None for v in self._views):
                    await future

    def raise_failure(self) -> None:
        """Raise the exception of the first failed task, unless this one is done."""
        members, index = self._own
        if members.is_done(index):
            return
        for view, at in self._above:
            if view.barrier.state(at) in _FAILED:
                raise view.exception(at)

    def _is_settled(self) -> bool:
        members, index = self._own
        return members.is_done(index) or any(
            view.barrier.state(at) in _FAILED for view, at in self._above
        )

    def _waiting(self, wake: Callable[[], Any]) -> ExitStack:
        waiter = Waiter(wake, hears_all=True)
        stack = ExitStack()
        for view in self._views:
            view.waiters.add(waiter)
            stack.callback(view.waiters.discard, waiter)
        return stack

    def _raise_errors(self) -> None:
        for view in self._views:
            view.raise_error()
