"""Find the members that a record belongs to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

from celerant._core import Roster
from celerant.results.tracking.members import Members

__all__ = ["Routes", "Watch"]

_PREFIX_LENGTH = 18


class Watch:
    """The consumer's notes about the members of one dispatch.

    A watch does not keep its members alive: they end with the user's result.
    """

    __slots__ = (
        "barrier",
        "channels",
        "covered",
        "due",
        "has_derived",
        "has_pattern",
        "members",
        "own",
        "roster",
        "spent",
    )

    def __init__(self, members: Members, gone: Callable[[Watch], None]) -> None:
        def note(_: object) -> None:
            gone(self)

        self.members = weakref.ref(members, note)
        self.roster: Roster = members.roster
        self.barrier = members.barrier
        may_grow = not self.barrier.is_sealed
        #: How many members have their ids here; there may be more later.
        self.covered = len(self.barrier)
        #: Ids that do not derive from the seed, by the members' indices.
        self.own = self.roster.own_in(0, self.covered)
        #: Whether any id derives from the seed. Single tasks have no such ids, and
        #: would all share one prefix.
        self.has_derived = may_grow or len(self.own) < len(self.roster)
        #: Ids that have a subscription each.
        self.channels: list[str] = []
        self.has_pattern = False
        #: Seconds that the present sweep has taken so far.
        self.spent = 0.0
        #: The time (`monotonic`) from which a large group may be read again.
        self.due = 0.0

    def is_of(self, members: Members) -> bool:
        """Whether it is a watch of these members, with their present barrier."""
        return self.roster is members.roster and self.barrier is members.barrier


class Routes:
    """Finds watches by task ids; the consumer's thread uses it."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, list[Watch]] = {}
        self._by_id: dict[str, list[Watch]] = {}
        #: All watches, in the order in which they were added.
        self.watches: dict[Watch, None] = {}

    def add(self, watch: Watch) -> None:
        """Add a watch."""
        self.watches[watch] = None
        if watch.has_derived:
            self._by_prefix.setdefault(watch.roster.prefix, []).append(watch)
        for task_id in watch.own.values():
            self._by_id.setdefault(task_id, []).append(watch)

    def extend(self, watch: Watch) -> None:
        """Add the new members of a watch."""
        stop = len(watch.barrier)
        for index, task_id in watch.roster.own_in(watch.covered, stop).items():
            watch.own[index] = task_id
            self._by_id.setdefault(task_id, []).append(watch)
        watch.covered = stop

    def discard(self, watch: Watch) -> None:
        """Remove a watch, if it is there."""
        if watch not in self.watches:
            return
        del self.watches[watch]
        if watch.has_derived:
            _drop(self._by_prefix, watch.roster.prefix, watch)
        for task_id in watch.own.values():
            _drop(self._by_id, task_id, watch)

    def clear(self) -> None:
        """Remove all watches."""
        self._by_prefix.clear()
        self._by_id.clear()
        self.watches.clear()

    def find(self, task_id: str) -> Iterator[tuple[Watch, int]]:
        """Yield each watch that has a member with this id, and the member's index."""
        for watch in self._by_id.get(task_id, ()):
            index = watch.roster.index(task_id)
            if index is not None and index < len(watch.barrier):
                yield watch, index
        for watch in self._by_prefix.get(task_id[:_PREFIX_LENGTH], ()):
            index = watch.roster.index(task_id)
            # A member that was read, and not sent here, may have been sent by another
            # sender of the group.
            if index is None or index >= len(watch.barrier):
                continue
            # An id that does not derive from the seed may look like one that does.
            if index not in watch.own:
                yield watch, index


def _drop(table: dict[str, list[Watch]], key: str, watch: Watch) -> None:
    left = [other for other in table.get(key, ()) if other is not watch]
    if left:
        table[key] = left
    else:
        table.pop(key, None)
