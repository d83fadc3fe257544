"""Results of groups that were not sent."""

from __future__ import annotations

import os

from celerant._core import Barrier, Roster
from celerant.results.group_result import GroupResult
from celerant.results.tracking.members import Members, sealed

__all__ = ["Fed", "group_of"]


def group_of(n, backend, **settings):
    """Return a result of `n` members that have not run yet.

    `settings` are those of `Members` and of `GroupResult`, and `ignored` members.
    """
    roster = Roster(os.urandom(16), n)
    barrier = settings.pop("barrier") if "barrier" in settings else sealed(n)
    for index in settings.pop("ignored", ()):
        barrier.arrive(index, Barrier.IGNORED)
    given = {"id": roster.uuid, "parent": None, "report": None}
    given.update((key, settings.pop(key)) for key in tuple(given) if key in settings)
    members = Members(roster, backend, barrier=barrier, is_group=True, **settings)
    return GroupResult(given.pop("id"), members, **given)


class Fed:
    """A group that a test sends bit by bit, as a dispatch does."""

    def __init__(self, backend):
        roster = Roster(os.urandom(16))
        self.members = Members(roster, backend, is_group=True)
        self.result = GroupResult(roster.uuid, self.members)

    def grow(self, count, own=None, shapes=None):
        """Have `count` members; `own` ids and `shapes` by index."""
        roster = self.members.roster
        for index, task_id in (own or {}).items():
            roster.adopt(index, task_id)
        for index, shape in (shapes or {}).items():
            roster.keep_shapes(index, index + 1, shape)
        self.members.grow(count)
        roster.resize(count)

    def store(self, *indices, state="SUCCESS"):
        """Store each member's index, or a failure with it."""
        for index in indices:
            result = index if state == "SUCCESS" else ValueError(index)
            task_id = self.members.roster.id(index)
            self.members.backend.store_result(task_id, result, state)

    def seal(self):
        """Have no more."""
        self.members.seal(len(self.members.barrier))
