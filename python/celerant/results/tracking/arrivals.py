"""A group's members in the order in which they arrive, also while more are sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from celerant._core import Barrier, monotonic
from celerant.errors import ResultTimeout
from celerant.results.tracking.awaiting import wait_in_loop
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
    """Yields each member once, as it arrives: for ``for`` and for ``async for``.

    Args:
        members: Of one dispatch, which may be still being sent.
        make: From members' indices to what is yielded.
        most: How many are yielded together; None: all that have come.
        timeout: Seconds for all of them; None waits for ever.
        forgets: Whether what was yielded is dropped, here and in the store, at the
            next step.
    """

    def __init__(
        self,
        members: Members,
        make: Callable[[list[int]], T],
        *,
        most: int | None = 1,
        timeout: float | None = None,
        forgets: bool = False,
    ) -> None:
        self._members = members
        self._make = make
        self._most = most
        self._timeout = timeout
        self._deadline = deadline_after(timeout)
        self._forgetting = Forgetting(members) if forgets else None
        #: Indices whose records came in, with repetitions: a record may come twice.
        self._noted: deque[int] = deque()
        #: Who was yielded, a byte each, and how many these are.
        self._seen = bytearray()
        self._yielded = 0
        self._is_begun = False

    def note(
        self,
        indices: Sequence[int],
        records: Sequence[bytes | None] = (),  # noqa: ARG002 - the members have them
    ) -> None:
        """Take note that records came in; called by any thread."""
        self._noted.extend(indices)

    # In a thread.

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        forgetting, members = self._forgetting, self._members
        if forgetting is not None and forgetting.forget_last():
            forgetting.delete()
        self._begin()
        while not (found := self._take()):
            if forgetting is not None:
                forgetting.delete()
            if self._is_over():
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
        while not (found := self._take()):
            if forgetting is not None and forgetting.has_more:
                await loop.run_in_executor(None, forgetting.delete)
            if self._is_over():
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
            refuse_inside_task(is_refused=True)
            if self._members.refuse_waiting is not None:
                self._members.refuse_waiting()
            self._is_begun = True
            # Registered first, looked second: those that arrive in between are noted.
            self._members.follow(self)
            self._note_all()

    def _take(self) -> list[int]:
        """Return members that have come and were not yielded yet."""
        barrier, noted, seen = self._members.barrier, self._noted, self._seen
        if len(seen) < len(barrier):
            seen.extend(bytes(len(barrier) - len(seen)))
        state = barrier.state
        found: list[int] = []
        while noted and len(found) != self._most:
            index = noted.popleft()
            if not seen[index] and state(index) != Barrier.PENDING:
                seen[index] = 1
                found.append(index)
        if not found and barrier.is_complete and self._yielded < len(barrier):
            # Of some no record told, or it is just about to.
            self._note_all()
            return self._take() if noted else []
        return found

    def _made(self, found: list[int]) -> T:
        self._yielded += len(found)
        if self._forgetting is not None:
            self._forgetting.yielded = found
        return self._make(found)

    def _has_news(self) -> bool:
        return bool(self._noted) or self._members.barrier.is_complete

    def _is_over(self) -> bool:
        barrier = self._members.barrier
        return barrier.is_complete and self._yielded == len(barrier)

    def _note_all(self) -> None:
        seen = self._seen
        known = len(seen)
        # Of what arrived before anybody listened the order is not known.
        self._noted.extend(
            index
            for index, state in enumerate(self._members.barrier.states())
            if state != Barrier.PENDING and not (index < known and seen[index])
        )

    def _timed_out(self) -> ResultTimeout:
        remaining = self._members.barrier.remaining
        some = "" if self._members.barrier.is_sealed else " or more"
        what = f"{remaining}{some} results are missing after {self._timeout} s"
        reason = because(self._members.backend, what)
        return ResultTimeout(reason, remaining=remaining)
