"""The stamps that a group's messages bear: one from its send, and one of each retry.

Members that are sent once more have another stamp, because workers may have revoked
the one before. The stamps are kept beside the results: whoever cancels the group must
name all, also those that another process has given.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from celerant.results.handle_format import packed, stamps_name, unpacked

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.tracking.members import Members

__all__ = ["keep_stamp", "known_stamps", "next_stamp"]


def known_stamps(members: Members, backend: Backend) -> list[str]:
    """Return all stamps of a group, those of other processes included.

    Raises:
        HandleError: Somebody else has changed what is stored.
        Exception: The store's own.
    """
    if members.stamps and backend.supports_handles:
        uuid, seed = members.roster.uuid, members.roster.seed
        stored = backend.take_aside(stamps_name(uuid))
        if stored is not None:
            key, where = backend.handle_key(), backend.as_uri()
            told = unpacked(stored, key, seed, uuid=uuid, where=where)
            known = [*told["stamps"], *members.stamps]
            members.stamps = [*dict.fromkeys(known)]
    return members.stamps


def next_stamp(members: Members) -> str | None:
    """Return a stamp for members that are sent once more; None: the group has none.

    No two processes make the same one.
    """
    stamps = members.stamps
    return f"{stamps[0]}.{secrets.token_hex(4)}" if stamps else None


def keep_stamp(members: Members, backend: Backend, stamp: str) -> list[str]:
    """Store the stamp of members that are about to be sent once more.

    Returns:
        All stamps of the group from then on.

    Raises:
        HandleError, Exception: As by `known_stamps`.
    """
    stamps = [*known_stamps(members, backend), stamp]
    if backend.supports_handles:
        told = packed(backend.handle_key(), members.roster.seed, {"stamps": stamps})
        backend.put_aside(stamps_name(members.roster.uuid), told)
    return stamps
