"""Who waits for members, and is woken once a condition of theirs holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Waiter", "Waiters"]


class Waiter:
    """One waiting thread or coroutine.

    Args:
        is_done: What it waits for.
        wake: Wakes it, from any thread; it looks for itself then.
        index: The one member that `is_done` asks about; None: any may matter.
    """

    __slots__ = ("index", "is_done", "wake")

    def __init__(
        self,
        is_done: Callable[[], bool],
        wake: Callable[[], object],
        index: int | None = None,
    ) -> None:
        self.is_done = is_done
        self.wake = wake
        self.index = index


class Waiters:
    """The waiters of one dispatch; added and dropped from any thread."""

    def __init__(self) -> None:
        self._all: set[Waiter] = set()
        #: Those that wait for one member. Ten thousand coroutines, each waiting for a
        #: member of one group, must not all be asked at each arrival.
        self._single: dict[int, set[Waiter]] = {}

    def __len__(self) -> int:
        return len(self._all) + sum(map(len, tuple(self._single.values())))

    def add(self, waiter: Waiter) -> None:
        """Wake `waiter` from now on."""
        if waiter.index is None:
            self._all.add(waiter)
        else:
            self._single.setdefault(waiter.index, set()).add(waiter)

    def discard(self, waiter: Waiter) -> None:
        """Wake `waiter` no more."""
        if waiter.index is None:
            self._all.discard(waiter)
            return
        # An empty set stays with its index: to drop it would race with a thread that
        # adds to it.
        self._single.get(waiter.index, set()).discard(waiter)

    def wake(self, indices: Sequence[int] | None = None) -> None:
        """Wake those whose condition holds; of the single ones those of `indices`."""
        for waiter in tuple(self._all):
            if waiter.is_done():
                waiter.wake()
        if not self._single:
            return
        for index in tuple(self._single) if indices is None else indices:
            for waiter in tuple(self._single.get(index, ())):
                if waiter.is_done():
                    waiter.wake()

    def wake_all(self) -> None:
        """Wake everyone: there is bad news."""
        for waiter in tuple(self._all):
            waiter.wake()
        for waiters in tuple(self._single.values()):
            for waiter in tuple(waiters):
                waiter.wake()
