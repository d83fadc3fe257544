"""Members of a group that are groups themselves.

If a chain ends in a group, or a chord's body is one, its result is the group's. Such a
member arrives once all of its own members have.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.results.tracking.forms import groups_in, parted
from celerant.results.tracking.waiters import Waiter

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Nested"]


class Nested:
    """The members that are groups, by their indices; they tell of their arrival."""

    def __init__(self, outer: Members) -> None:
        self._outer = weakref.ref(outer)
        self._members: dict[int, Members] = {}
        #: The results of these members that users hold.
        self._views: dict[int, Any] = {}
        self._arrivals: dict[int, Waiter] = {}
        #: Members that are not watched yet.
        self._fresh: list[int] = []
        #: How many members of the outer group were checked.
        self._covered = 0
        #: Whether all were checked after the seal.
        self._is_final = False

    def is_behind(self, outer: Members) -> bool:
        """Whether there are members of `outer` that were not checked."""
        if self._is_final:
            return False
        return len(outer.barrier) != self._covered or outer.barrier.is_sealed

    def extend(self, outer: Members) -> None:
        """Make the members of groups among the new members."""
        # Read before the size, which does not change after the seal.
        is_final, stop = outer.barrier.is_sealed, len(outer.barrier)
        # Held canvases are read while they are sent, so even early members may turn out
        # to be groups only now.
        for index in groups_in(outer.roster, 0 if is_final else self._covered):
            if index >= stop:
                break
            if index not in self._members:
                self._add(outer, index)
        self._covered, self._is_final = stop, is_final

    def _add(self, outer: Members, index: int) -> None:
        forms = parted(outer.roster.form(index))[2]
        inner = outer.of_forms(forms, outer.backend)
        inner.sent_at, inner.losses = outer.sent_at, outer.losses
        inner.pid = outer.pid
        inner.were_done = outer.were_done
        inner.path = f"{outer.path or 'group'}[{index}]"
        # Weak, because a user who drops the outer result waits for none of them.
        wake = partial(_pass_on, self._outer, index, weakref.ref(inner))
        self._arrivals[index] = Waiter(wake)
        # After its arrival, because another thread may use it as soon as it is there.
        self._members[index] = inner
        # Last, because `begin` drops it in another thread, and begins what is above.
        self._fresh.append(index)

    def __contains__(self, index: int) -> bool:
        return index in self._members

    def __iter__(self) -> Iterator[int]:
        # A copy, because members may be added meanwhile.
        return iter(tuple(self._members))

    def members(self, index: int) -> Members:
        """Return the members of a member."""
        outer, inner = self._outer(), self._members[index]
        if outer is not None and outer.barrier.state(index) == Barrier.NOT_SENT:
            inner.unsent = outer.unsent
            inner.settle(range(len(inner.barrier)), Barrier.NOT_SENT)
        return inner

    def view(self, index: int, make: Callable[[int, Members], Any]) -> Any:
        """Return a member's result for a user; `make` makes it the first time."""
        inner = self.members(index)
        if index not in self._views:
            self._views.setdefault(index, make(index, inner))
        return self._views[index]

    def settle(self, index: int, inner: Members, view: Any) -> None:
        """Set the members and result of a member that ran in place."""
        self._arrivals.pop(index, None)
        self._members[index], self._views[index] = inner, view

    def begin(self) -> None:
        """Let all of them be watched from now on."""
        self._fresh.clear()
        for index in self:
            self._begin(index)

    def begin_fresh(self) -> None:
        """Let those be watched that were added since `begin`."""
        # Another thread may take the last one meanwhile.
        with suppress(IndexError):
            while True:
                index = self._fresh.pop()
                self._begin(index)

    def _begin(self, index: int) -> None:
        arrival = self._arrivals.get(index)
        if arrival is not None:
            inner = self.members(index)
            # Checked after it is registered, so that no arrival is missed. Each call
            # registers it again, because a fork drops waiters.
            inner.waiters.add(arrival)
            inner.begin()
            arrival.wake()

    def renew(self) -> None:
        """Wait again for members that were unsent and are sent now."""
        outer = self._outer()
        for index, inner in tuple(self._members.items()):
            count = len(inner.barrier)
            is_unsent = inner.barrier.count(Barrier.NOT_SENT) == count > 0
            if outer is not None and is_unsent and not outer.is_done(index):
                inner.renew()


def _pass_on(
    outer_ref: weakref.ref[Members], index: int, inner_ref: weakref.ref[Members]
) -> None:
    """End an outer member once its own members are done, or note its failure."""
    outer, inner = outer_ref(), inner_ref()
    if outer is None or inner is None or outer.is_done(index):
        return
    has_failed = inner.has_failed()
    if inner.barrier.is_complete:
        state = Barrier.FAILURE if has_failed else Barrier.SUCCESS
        outer.put(index, state, None)
    elif has_failed:
        outer.fail_early(index)
