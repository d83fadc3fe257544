"""Results of groups that were not sent."""

from __future__ import annotations

import os

from celerant._core import Barrier, Roster
from celerant.results.group_result import GroupResult
from celerant.results.tracking.members import Members, sealed

__all__ = ["group_of"]


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
