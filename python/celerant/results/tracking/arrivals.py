"""A group's members in the order in which they arrive, for ``async for``."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from celerant._core import Barrier
from celerant.results.tracking.awaiting import wait_in_loop

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Arrivals"]

T = TypeVar("T")


class Arrivals(AsyncIterator[T], Generic[T]):
    """Yields each member once, as it arrives.

    Args:
        members: Of one dispatch.
        make: From a member's index to what is yielded.
    """

    def __init__(self, members: Members, make: Callable[[int], T]) -> None:
        self._members = members
        self._make = make
        #: Indices whose records came in, with repetitions: a record may come twice.
        self._noted: deque[int] = deque()
        self._seen = bytearray(len(members.barrier))
        self._missing = len(self._seen)
        self._is_begun = False

    def note(
        self,
        indices: Sequence[int],
        records: Sequence[bytes | None] = (),  # noqa: ARG002 - the members have them
    ) -> None:
        """Take note that records came in; called by any thread."""
        self._noted.extend(indices)

    async def __anext__(self) -> T:
        if not self._is_begun:
            self._is_begun = True
            # Registered first, looked second: those that arrive in between are noted.
            self._members.follow(self)
            self._note_all()
        while self._missing:
            index = self._next()
            if index is not None:
                return self._make(index)
            if self._members.barrier.is_complete and not self._noted:
                self._note_all()
                continue
            await wait_in_loop(self._members, self._has_news, hears_all=True)
        raise StopAsyncIteration

    def _next(self) -> int | None:
        state = self._members.barrier.state
        while self._noted:
            index = self._noted.popleft()
            if not self._seen[index] and state(index) != Barrier.PENDING:
                self._seen[index] = 1
                self._missing -= 1
                return index
        return None

    def _has_news(self) -> bool:
        return bool(self._noted) or self._members.barrier.is_complete

    def _note_all(self) -> None:
        states = self._members.barrier.states()
        # Of what arrived before anybody listened the order is not known.
        self._noted.extend(
            index
            for index, state in enumerate(states)
            if state != Barrier.PENDING and not self._seen[index]
        )
