"""Announce how many members of a group have left, for handles in other processes.

What is announced is stored beside the group's results: as members leave, their number
and what else a view on them needs; at the end a handle of the whole. What others ask
of the sender (to pause the group, to go on, to cancel it) is stored there too.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from typing import TYPE_CHECKING, Any, Literal

from celerant._core import monotonic
from celerant.common.group_stamp import cancel_mark
from celerant.common.printable import line
from celerant.errors import HandleError
from celerant.results.handle import keep_handle, short_name
from celerant.results.handle_format import (
    open_name,
    packed,
    sealed_name,
    steering_name,
    unpacked,
)
from celerant.results.renewing import RENEWER

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.tracking.members import Members

__all__ = ["Announcer", "Asked"]

logger = logging.getLogger("celerant")

#: The least seconds between two announcements while members leave without a pause.
_INTERVAL = 0.5
#: It is renewed after this part of the time that the store keeps it.
_KEPT_PART = 3
#: Seconds to wait before it is renewed if the store has refused that.
_PAUSE = 1.0
#: The most bytes of an announcement. Members of many outcomes are announced at the end.
_MOST = 64 << 10

#: What another process asks of a sender.
Asked = Literal["pause", "resume", "cancel"]


class Announcer:
    """Announces one group that is fed.

    Args:
        group_id: The group's id.
        members: Its members.
        backend: The store of its results, shared between processes.
    """

    def __init__(self, group_id: str, members: Members, backend: Backend) -> None:
        self._group_id = group_id
        self._members = members
        self._backend = backend
        self._uuid = members.roster.uuid
        self._key = backend.handle_key()
        #: Tells what it has announced from what another sender has.
        self._token = os.urandom(8).hex()
        #: How many members were announced last; None: none yet.
        self._told: int | None = None
        #: What was announced, and when it is renewed, before the store drops it.
        self._payload = b""
        self._due = math.inf
        #: Held while it is told: another thread renews it.
        self._telling = threading.Lock()
        #: The last request to pause or to go on, obeyed or from before.
        self._request: bytes | None = None
        self._next = self._next_look = 0.0
        self._has_failed = False

    def tell(self, *, is_pausing: bool = True) -> Asked | None:
        """Announce the members that have left, if there are more than before.

        Args:
            is_pausing: Whether none leaves for a while. Else it is announced only at
                intervals.

        Returns:
            What another process asks for; None if nothing new.
        """
        now = monotonic()
        if not is_pausing and now < self._next:
            return None
        self._next = self._next_look = now + _INTERVAL
        return self._answer(tells=True)

    def look(self) -> Asked | None:
        """Return what another process asks for; looks only at intervals."""
        now = monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + _INTERVAL
        return self._answer()

    def _answer(self, *, tells: bool = False) -> Asked | None:
        """Return what another process asks for, after telling what has left."""
        try:
            if tells:
                self._tell()
            return "cancel" if self._is_cancelled() else self._asked()
        except Exception as exc:  # noqa: BLE001 - sending goes on all the same
            self._complain(exc)
            return None

    def begin(self) -> None:
        """Announce what has left so far.

        Raises:
            Exception: The store's own.
        """
        # Who sends a paused group once more wants it to leave.
        self._request = self._backend.take_aside(steering_name(self._uuid))
        self._told = None
        # From now on a sender before this one announces nothing, and no end.
        self._tell()
        RENEWER.get().add(self)
        # Whoever has a handle of the end that is not the end any more looks on.
        self._backend.put_aside(sealed_name(self._uuid), b"")

    def again(self) -> None:
        """Announce what has left, of a group that is sent once more."""
        try:
            self.begin()
        except Exception as exc:  # noqa: BLE001 - sending goes on all the same
            self._complain(exc)

    def end(self) -> None:
        """Announce the whole group, unless another sender goes on with it."""
        RENEWER.get().discard(self)
        try:
            if self._is_own():
                keep_handle(self._group_id, self._members)
        except Exception as exc:  # noqa: BLE001 - the group was sent all the same
            self._complain(exc)

    def leave(self) -> None:
        """Announce nothing more: another sender does."""
        RENEWER.get().discard(self)

    def renew(self) -> float:
        """Tell the same again if it is due; return the seconds until it is due next."""
        with self._telling:
            now = monotonic()
            if now < self._due:
                return self._due - now
            try:
                # Else another sender renews its own.
                if self._is_own():
                    self._put(now)
                else:
                    self._due = math.inf
            except Exception as exc:  # noqa: BLE001 - sending goes on all the same
                self._complain(exc)
                self._due = now + _PAUSE
            return self._due - now

    def _tell(self) -> None:
        roster = self._members.roster
        # Its number first: what is known of the members is known before they count.
        count = len(self._members.barrier)
        own = roster.own()
        if own:
            # An id that a user chose is not derived from the seed, and there may be
            # many: these members, and those after them, come with the whole.
            count = min(count, *own)
        if count == self._told or (self._told is not None and not self._is_own()):
            return
        aside: dict[str, Any] = {"count": count, "by": self._token}
        long_id = short_name(self._group_id, self._uuid)[1]
        if long_id:
            aside["group_id"] = long_id
        stamps = self._members.stamps
        if stamps and stamps != [self._group_id]:
            aside["stamps"] = stamps
        shapes = roster.shapes()
        if shapes:
            aside["outcomes"] = shapes
        payload = packed(self._key, roster.seed, aside)
        if len(payload) <= _MOST or self._told is None:
            with self._telling:
                self._payload = payload
                self._put(monotonic())
                self._told = count

    def _put(self, now: float) -> None:
        self._backend.put_aside(open_name(self._uuid), self._payload)
        kept = self._backend.expires
        self._due = now + kept / _KEPT_PART if kept else math.inf

    def _is_own(self) -> bool:
        """Whether no other sender has announced the group since."""
        stored = self._backend.take_aside(open_name(self._uuid))
        if stored is None:
            return True
        try:
            told = self._unpacked(stored)
        except HandleError:
            # No sender has written that.
            return True
        return bool(told.get("by") == self._token)

    def _is_cancelled(self) -> bool:
        stamps = self._members.stamps
        return bool(stamps) and (
            self._backend.take_aside(cancel_mark(stamps[-1])) is not None
        )

    def _asked(self) -> Asked | None:
        request = self._backend.take_aside(steering_name(self._uuid))
        if not request or request == self._request:
            return None
        self._request = request
        word: Asked = self._unpacked(request)["steer"]
        return word

    def _unpacked(self, stored: bytes) -> dict[str, Any]:
        seed, where = self._members.roster.seed, self._backend.as_uri()
        return unpacked(stored, self._key, seed, uuid=self._uuid, where=where)

    def _complain(self, exc: Exception) -> None:
        level = logging.DEBUG if self._has_failed else logging.WARNING
        self._has_failed = True
        logger.log(
            level,
            "how much of group %s has left is not known to other processes: %s",
            self._group_id,
            line(exc),
        )
