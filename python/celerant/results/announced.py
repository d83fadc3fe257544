"""A group that another process sends: learn how many members it has, and steer it."""

from __future__ import annotations

import secrets
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from celerant._core import Roster
from celerant.errors import CelerantError, ResultExpired, TaskRevoked
from celerant.results.handle_format import (
    HAS_ASIDE,
    HandleData,
    open_name,
    packed,
    proven,
    sealed_name,
    steering_name,
    unpacked,
)

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.backends.handle_store import HandleStore
    from celerant.results.tracking.members import Members

__all__ = ["Announced", "aside_of", "end_of", "fill"]


class Announced:
    """What the sender of a group announces (`announcing.py`), as others read it.

    Args:
        uuid: The id of the group's roster.
        seed: The roster's seed.
        backend: The store of its results.
        store: Keeps what is announced.
        key: The store's.
    """

    def __init__(
        self, uuid: str, seed: bytes, backend: Backend, store: HandleStore, key: bytes
    ) -> None:
        self._uuid = uuid
        self._seed = seed
        self._backend = backend
        self._store = store
        self._key = key
        #: Held while members are added: two threads may look at once.
        self._adding = Lock()

    def whole(self) -> tuple[HandleData, dict[str, Any]] | None:
        """Return the handle of the whole group and its data; None if it is sent still.

        Raises:
            HandleError, ResultExpired: As by `attach`.
        """
        stored = self._store.take_aside(sealed_name(self._uuid))
        if not stored:
            return None
        told, store, key = proven(stored.decode(), self._backend, self._store)
        return told, aside_of(told, self._backend, store, key)

    def so_far(self) -> dict[str, Any] | None:
        """Return what is known of a group that is sent still; None if nothing is.

        Raises:
            HandleError: Somebody else has changed it.
        """
        stored = self._store.take_aside(open_name(self._uuid))
        if stored is None:
            return None
        where = self._backend.as_uri()
        return unpacked(stored, self._key, self._seed, uuid=self._uuid, where=where)

    def look(self, members: Members) -> None:
        """Add the members that were sent by now, and end the group if all were.

        Raises:
            Exception: The store's own; or as by `attach`.
        """
        whole = self.whole()
        aside = self.so_far() if whole is None else whole[1]
        with self._adding:
            if members.barrier.is_sealed:
                return
            if whole is not None:
                fill(members, whole[0].count, whole[1])
                end_of(members, whole[1])
                members.seal(whole[0].count)
            elif aside is not None:
                fill(members, aside["count"], aside)

    def pause(self) -> None:
        """Ask the sender to pause; see `Growth`."""
        self._steer("pause")

    def resume(self) -> None:
        """Ask the sender to go on; see `Growth`."""
        self._steer("resume")

    def _steer(self, word: Literal["pause", "resume"]) -> None:
        # Each request is another text: the sender obeys one that it has not seen.
        asked = {"steer": word, "request": secrets.token_hex(8)}
        name = steering_name(self._uuid)
        self._store.put_aside(name, packed(self._key, self._seed, asked))


def aside_of(
    told: HandleData, backend: Backend, store: HandleStore, key: bytes
) -> dict[str, Any]:
    """Return the data that a handle has no room for.

    Raises:
        ResultExpired: They are gone.
        HandleError: Somebody else has changed them.
    """
    if not told.flags & HAS_ASIDE:
        return {}
    uuid, where = Roster(told.seed).uuid, backend.as_uri()
    stored = store.take_aside(uuid)
    if stored is None:
        msg = (
            f"group {uuid} is gone from {where}: what was stored beside its results "
            "has expired or was deleted"
        )
        raise ResultExpired(msg)
    return unpacked(stored, key, told.seed, uuid=uuid, where=where)


def fill(members: Members, count: int, aside: dict[str, Any]) -> None:
    """Have `count` members, with the ids and outcomes that are stored aside."""
    roster = members.roster
    roster.resize(max(count, len(roster)))
    for index, task_id in aside.get("own", ()):
        roster.adopt(index, task_id)
    for start, stop, shape in aside.get("outcomes", ()):
        roster.keep_shapes(start, stop, shape)
    members.grow(count)


def end_of(members: Members, aside: dict[str, Any]) -> None:
    """Set the states that no record tells, and what ended the sending early."""
    for state, intervals in aside.get("states", {}).items():
        for start, stop in intervals:
            members.settle(range(start, stop), int(state))
    short = aside.get("cut_short")
    if short is not None:
        kind = TaskRevoked if short["revoked"] else CelerantError
        members.cut_short = kind(short["text"])
        members.stopped_by = short["by"]
