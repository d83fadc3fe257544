"""Which members a record belongs to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

from celerant._core import Roster
from celerant.results.tracking.members import Members

__all__ = ["Routes", "Watch"]

_PREFIX_LENGTH = 18


class Watch:
    """What the consumer does for the members of one dispatch.

    It does not keep them alive: who drops a result waits for it no more.
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
        #: Members whose ids are known here; more may come.
        self.covered = len(self.barrier)
        #: Their ids that do not derive from the seed, by index.
        self.own = self.roster.own_in(0, self.covered)
        #: Whether any member's id derives from the seed. Results of single tasks have
        #: none, and would all share one prefix.
        self.has_derived = may_grow or len(self.own) < len(self.roster)
        #: Ids that are subscribed to one by one.
        self.channels: list[str] = []
        self.has_pattern = False
        #: Seconds that the sweep which runs has taken of the thread's time.
        self.spent = 0.0
        #: When (monotonic) a large group may be read again.
        self.due = 0.0

    def is_of(self, members: Members) -> bool:
        """Whether it watches these members as they are now."""
        return self.roster is members.roster and self.barrier is members.barrier


class Routes:
    """The watches, found by a task's id. Used by the consumer's thread."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, list[Watch]] = {}
        self._by_id: dict[str, list[Watch]] = {}
        #: In the order they came.
        self.watches: dict[Watch, None] = {}

    def add(self, watch: Watch) -> None:
        """Route to `watch` from now on."""
        self.watches[watch] = None
        if watch.has_derived:
            self._by_prefix.setdefault(watch.roster.prefix, []).append(watch)
        for task_id in watch.own.values():
            self._by_id.setdefault(task_id, []).append(watch)

    def extend(self, watch: Watch) -> None:
        """Route to members of `watch` that have come."""
        stop = len(watch.barrier)
        for index, task_id in watch.roster.own_in(watch.covered, stop).items():
            watch.own[index] = task_id
            self._by_id.setdefault(task_id, []).append(watch)
        watch.covered = stop

    def discard(self, watch: Watch) -> None:
        """Route to `watch` no more."""
        if watch not in self.watches:
            return
        del self.watches[watch]
        if watch.has_derived:
            _drop(self._by_prefix, watch.roster.prefix, watch)
        for task_id in watch.own.values():
            _drop(self._by_id, task_id, watch)

    def clear(self) -> None:
        """Route to nobody."""
        self._by_prefix.clear()
        self._by_id.clear()
        self.watches.clear()

    def find(self, task_id: str) -> Iterator[tuple[Watch, int]]:
        """Yield the watches that have a member of this id, and its index."""
        for watch in self._by_id.get(task_id, ()):
            index = watch.roster.index(task_id)
            if index is not None:
                yield watch, index
        for watch in self._by_prefix.get(task_id[:_PREFIX_LENGTH], ()):
            index = watch.roster.index(task_id)
            # A member's own id may look like a derived one.
            if index is not None and index not in watch.own:
                yield watch, index


def _drop(table: dict[str, list[Watch]], key: str, watch: Watch) -> None:
    left = [other for other in table.get(key, ()) if other is not watch]
    if left:
        table[key] = left
    else:
        table.pop(key, None)
