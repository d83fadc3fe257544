"""Iterate over a group's members as they arrive, even while more are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from celerant._core import monotonic
from celerant.errors import ResultTimeout
from celerant.results.tracking.awaiting import wait_in_loop
from celerant.results.tracking.coming import Coming
from celerant.results.tracking.forgetting import Forgetting
from celerant.results.tracking.waiting import (
    because,
    deadline_after,
    refuse_inside_task,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.members import Members

__all__ = ["Arrivals"]

T = TypeVar("T")


class Arrivals(Iterator[T], AsyncIterator[T], Generic[T]):
    """Yields each member once, as it arrives, in a ``for`` or an ``async for``.

    Args:
        members: The members of one dispatch, which may still be sending.
        make: Makes the yielded item from members' indices.
        most: The most members of one item; None is all that have arrived.
        timeout: Seconds for the whole iteration; None waits for ever.
        forgets: Whether each step drops the members of the step before, here and in
            the store.
        is_refused: Whether a task must not wait for them.
    """

    def __init__(  # noqa: PLR0913 - what an iteration is asked for
        self,
        members: Members,
        make: Callable[[list[int]], T],
        *,
        most: int | None = 1,
        timeout: float | None = None,
        forgets: bool = False,
        is_refused: bool = True,
    ) -> None:
        self._members = members
        self._make = make
        self._most = most
        self._timeout = timeout
        self._deadline = deadline_after(timeout)
        self._forgetting = Forgetting(members) if forgets else None
        self._coming = Coming(members)
        self._is_refused = is_refused
        self._is_begun = False

    # In a thread.

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        forgetting, members = self._forgetting, self._members
        if forgetting is not None and forgetting.forget_last():
            forgetting.delete()
        self._begin()
        while not (found := self._coming.take(self._most)):
            if forgetting is not None:
                forgetting.delete()
            if self._coming.is_over:
                raise StopIteration
            left = None if self._deadline is None else self._deadline - monotonic()
            members.look(left if self._timeout else self._timeout)
            if not self._has_news():
                members.backend.tell_obstacle()
            if not members.wait(self._has_news, self._deadline, hears_all=True):
                raise self._timed_out()
        return self._made(found)

    # In an event loop.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        forgetting, loop = self._forgetting, asyncio.get_running_loop()
        if forgetting is not None and forgetting.forget_last():
            await loop.run_in_executor(None, forgetting.delete)
        self._begin()
        while not (found := self._coming.take(self._most)):
            if forgetting is not None and forgetting.has_more:
                await loop.run_in_executor(None, forgetting.delete)
            if self._coming.is_over:
                raise StopAsyncIteration
            wait = wait_in_loop(self._members, self._has_news, hears_all=True)
            if self._deadline is None:
                await wait
                continue
            try:
                left = max(0.0, self._deadline - monotonic())
                await asyncio.wait_for(wait, left)
            except asyncio.TimeoutError:
                if not self._has_news():
                    raise self._timed_out() from None
        return self._made(found)

    # In both.

    def _begin(self) -> None:
        if not self._is_begun:
            refuse_inside_task(
                is_refused=self._is_refused and not self._members.were_done
            )
            self._members.check_waiting()
            self._is_begun = True
            self._coming.begin()

    def _made(self, found: list[int]) -> T:
        if self._forgetting is not None:
            self._forgetting.use(found)
        return self._make(found)

    def _has_news(self) -> bool:
        return self._coming.has_news

    def _timed_out(self) -> ResultTimeout:
        remaining = self._members.barrier.remaining
        some = "" if self._members.barrier.is_sealed else " or more"
        what = f"{remaining}{some} results are missing after {self._timeout} s"
        reason = because(self._members.backend, what)
        return ResultTimeout(reason, remaining=remaining)
