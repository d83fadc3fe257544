"""Members of a group that are groups themselves.

A chain that ends in a group, or a chord whose body is one, has the group's results as
its result. Such a member arrives once all of its own members have.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.results.waiters import Waiter

if TYPE_CHECKING:
    from celerant.results.group_result import GroupResult
    from celerant.results.members import Members

__all__ = ["Nested"]


class Nested:
    """The results of those members, by index, and what tells of their arrival."""

    def __init__(self, outer: Members, indices: Iterator[int]) -> None:
        """Make the results of the members `indices` of `outer`."""
        from celerant.results.tree import nested_result  # noqa: PLC0415 - it imports this module

        self._outer = weakref.ref(outer)
        self._results: dict[int, GroupResult[Any]] = {}
        self._links: dict[int, Waiter] = {}
        for index in indices:
            result = nested_result(outer, index)
            inner = result._members  # noqa: SLF001 - of the same room
            # Weak: who drops the outer result waits for none of them any more.
            both = self._outer, index, weakref.ref(inner)
            self._results[index] = result
            self._links[index] = Waiter(
                partial(_has_news, *both), partial(_pass_on, *both)
            )

    def __contains__(self, index: int) -> bool:
        return index in self._results

    def __bool__(self) -> bool:
        return bool(self._results)

    def __iter__(self) -> Iterator[int]:
        return iter(self._results)

    def __getitem__(self, index: int) -> GroupResult[Any]:
        self._note_unsent(index)
        return self._results[index]

    def members(self, index: int) -> Members:
        """Return what is known of a member's members."""
        return self[index]._members  # noqa: SLF001 - of the same room

    def settle(self, index: int, result: GroupResult[Any]) -> None:
        """Take the result of a member that is done: it ran in place."""
        self._links.pop(index, None)
        self._results[index] = result
        result.index = index

    def begin(self) -> None:
        """Have all of them watched from now on."""
        for index, link in self._links.items():
            inner = self.members(index)
            # Registered first, looked second. Again after a fork, which drops it.
            inner.waiters.add(link)
            inner.begin()
            if link.is_done():
                self._arrive(index, inner)

    def renew(self) -> None:
        """Wait again for those that were not sent before and are now."""
        outer = self._outer()
        for index, result in self._results.items():
            inner = result._members  # noqa: SLF001 - of the same room
            count = len(inner.barrier)
            is_unsent = inner.barrier.count(Barrier.NOT_SENT) == count > 0
            if outer is not None and is_unsent and not outer.is_done(index):
                barrier = Barrier()
                barrier.grow(count)
                barrier.seal(count)
                inner.renew(barrier)

    def _note_unsent(self, index: int) -> None:
        outer = self._outer()
        if outer is None or outer.barrier.state(index) != Barrier.NOT_SENT:
            return
        inner = self._results[index]._members  # noqa: SLF001 - of the same room
        inner.unsent = outer.unsent
        inner.barrier.arrive_range(0, len(inner.barrier), Barrier.NOT_SENT)

    def _arrive(self, index: int, inner: Members) -> None:
        outer = self._outer()
        if outer is not None:
            _arrive(outer, index, inner)


def _has_news(
    _: weakref.ref[Members], __: int, inner_ref: weakref.ref[Members]
) -> bool:
    inner = inner_ref()
    return inner is not None and (inner.barrier.is_complete or inner.has_failed())


def _pass_on(
    outer_ref: weakref.ref[Members], index: int, inner_ref: weakref.ref[Members]
) -> None:
    outer, inner = outer_ref(), inner_ref()
    if outer is not None and inner is not None and _arrive(outer, index, inner):
        outer.note([index])
        outer.notify([index])


def _arrive(outer: Members, index: int, inner: Members) -> bool:
    """Take in what has become of a member; returns whether that is news."""
    if outer.is_done(index):
        return False
    is_news = False
    if inner.has_failed() and outer.first_failure is None:
        # Who waits for a failure need not wait for the others.
        outer.first_failure = index
        is_news = True
    if inner.barrier.is_complete:
        failed = Barrier.FAILURE if inner.has_failed() else Barrier.SUCCESS
        outer.barrier.arrive(index, failed)
        is_news = True
    return is_news
