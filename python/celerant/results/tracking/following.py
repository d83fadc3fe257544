"""Waiting for a task that follows others: what they raise, it will not outlive."""

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
    from celerant.results.tracking.listening import Hooks
    from celerant.results.tracking.members import Members

__all__ = ["Line"]

_FAILED = (Barrier.FAILURE, Barrier.REVOKED)


class Line:
    """A task and the tasks that it follows.

    Of a group that it follows only what came before is watched: that a member failed
    is told by the record of what follows.

    Args:
        members: What is known of the task.
        index: Its position there.
        above: The tasks that it follows, nearest first.
    """

    def __init__(
        self, members: Members, index: int, above: Iterator[tuple[Members, int]]
    ) -> None:
        self._own = members, index
        #: From the first to the last.
        self._above = list(above)[::-1]
        views = [members, *(view for view, _ in self._above)]
        self._views = list({id(view): view for view in views}.values())

    @property
    def is_long(self) -> bool:
        """Whether the task follows any."""
        return bool(self._above)

    def wait(self, timeout: float | None, hooks: Hooks | None = None) -> bool:
        """Wait for the task or for a failure of what it follows.

        Args:
            timeout: Seconds; 0 looks once, None waits for ever.
            hooks: Whom to tell meanwhile.

        Returns:
            False where the time passed.
        """
        if self._is_settled():
            return True
        deadline = deadline_after(timeout)
        with Listening(self._views, hooks) as listening:
            return listening.wait(self._is_settled, deadline)

    async def wait_in_loop(self) -> None:
        """Wait as `wait` in an event loop; cancelled, it leaves nothing behind."""
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
                # Registered first, looked second: nobody wakes for what is past.
                if not self._is_settled() and all(v.error is None for v in self._views):
                    await future

    def raise_failure(self) -> None:
        """Raise what the first task raised that failed, unless the last is done."""
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
