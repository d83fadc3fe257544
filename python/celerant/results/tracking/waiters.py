"""Waiters for members, and waking them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Follower", "Waiter", "Waiters"]


class Follower(Protocol):
    """Is told of the members that come in, and of their records."""

    def note(self, indices: Sequence[int], records: Sequence[bytes | None]) -> None:
        """Note members and their records; any thread calls it."""


@dataclass(frozen=True, eq=False, slots=True)
class Waiter:
    """One waiting thread or coroutine."""

    #: Wakes it from any thread; it checks its condition then.
    wake: Callable[[], object]
    #: The one member that it waits for; None is the end of all, or a failure.
    index: int | None = None
    #: Whether each member that comes in may fulfil its condition.
    hears_all: bool = False


class Waiters:
    """The waiters of one dispatch; any thread may add and remove them."""

    def __init__(self) -> None:
        self._ends: set[Waiter] = set()
        self._all: set[Waiter] = set()
        #: Waiters for one member. Ten thousand coroutines, each waiting for a member of
        #: one group, must not all be woken at each arrival.
        self._single: dict[int, set[Waiter]] = {}

    def __len__(self) -> int:
        single = sum(map(len, tuple(self._single.values())))
        return len(self._ends) + len(self._all) + single

    def add(self, waiter: Waiter) -> None:
        """Wake `waiter` from now on."""
        self._place(waiter).add(waiter)

    def discard(self, waiter: Waiter) -> None:
        """Stop waking `waiter`."""
        # An empty set stays: another thread may be adding to it.
        self._place(waiter).discard(waiter)

    def _place(self, waiter: Waiter) -> set[Waiter]:
        if waiter.index is not None:
            return self._single.setdefault(waiter.index, set())
        return self._all if waiter.hears_all else self._ends

    def wake(self, indices: Sequence[int], *, has_failed: bool) -> None:
        """Wake the waiters whose conditions the arrived members may fulfil."""
        _wake(self._all)
        if has_failed:
            _wake(self._ends)
        if self._single:
            for index in indices:
                _wake(self._single.get(index, ()))

    def wake_for_news(self) -> None:
        """Wake the waiters for more than one member."""
        _wake(self._all)
        _wake(self._ends)

    def wake_all(self) -> None:
        """Wake all waiters: all members are done, or the consumer gave up."""
        self.wake_for_news()
        for waiters in tuple(self._single.values()):
            _wake(waiters)


def _wake(waiters: Iterable[Waiter]) -> None:
    for waiter in tuple(waiters):
        waiter.wake()
