"""A journal in the Redis that is the broker: the mark, and what one number cannot say.

Keys, under kombu's ``global_keyprefix``, live for a week after the last sender:

```text
_kombu.celerant.journal.<seed>            the mark, see celerant.dispatch.journaling
_kombu.celerant.journal.<seed>.records    a list, see celerant.sending.journal_records
_kombu.celerant.journal.<seed>.prints     what members were sent with
_kombu.celerant.journal.<seed>.lease      who sends; gone seconds after it died
```
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from celerant._core import Prints
from celerant.dispatch.journaling import Assignment, Mark
from celerant.errors import CelerantError, JournalError
from celerant.sending.journal_past import Past
from celerant.sending.journal_records import KeptJournal, mark_name, record_of, sender

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.dispatch.journaling import Command
    from celerant.errors.report import Intervals, Report

__all__ = ["RedisJournal"]

logger = logging.getLogger("celerant")

#: Seconds that a journal lives after its last sender.
_TTL = 7 * 24 * 3600
#: Milliseconds that a sender counts as alive after it said so, and seconds after which
#: it says so again.
_LEASE_MS, _RENEW = 10_000, 3.0


class Broker(Protocol):
    """Takes commands of Redis; an `Outgoing`."""

    def tell(self, *commands: Command) -> list[Any] | None:
        """Send commands and return their replies; None: it is no Redis."""


class RedisJournal(KeptJournal):
    """Names what leaves in Redis, and holds the sender's lease."""

    needs_mark = True

    def __init__(
        self, keys: Keys, name: bytes, assignment: Assignment, prints: Prints
    ) -> None:
        super().__init__(name, assignment, prints)
        self._keys = keys
        keys.is_mark_ours = self._is_mark_ours
        #: Called at its end.
        self.on_end: Callable[[], None] | None = None

    @classmethod
    def create(
        cls, broker: Broker, seed: bytes, head: dict[str, Any], prints: Prints
    ) -> RedisJournal:
        """Begin the journal of a group.

        Raises:
            JournalError: The broker is no Redis, or the group has a journal already.
            PublishError: The broker does not answer.
        """
        keys = Keys(broker, mark_name(seed))
        keys.lease()
        try:
            keys.create(head)
        except BaseException:
            keys.release()
            raise
        return cls(keys, keys.name, Assignment(1), prints)

    @staticmethod
    def open(broker: Broker, seed: bytes) -> tuple[Keys, Past]:
        """Take the lease of a journal, and read it.

        Raises:
            JournalError: There is none, or its sender lives.
            PublishError: The broker does not answer.
        """
        keys = Keys(broker, mark_name(seed))
        keys.lease()
        try:
            return keys, keys.read()
        except BaseException:
            keys.release()
            raise

    def write_begin(self) -> Sequence[Command]:
        record = orjson.dumps(record_of(self))
        return [("RPUSH", self._keys.records, record)]

    def write_leaving(self, start: int, stop: int, has_generic: bool) -> None:  # noqa: FBT001 - as declared
        if has_generic:
            msg = (
                f"group[{start}] or one behind it goes to no plain queue of Redis, and "
                "no mark would tell of it: give the path of a file as journal="
            )
            raise JournalError(msg, path=f"group[{start}]")
        packed = self.prints.pack(start, stop)
        self.beside = [("SETRANGE", self._keys.prints, 2 * start, packed)]

    def write_low(self) -> None:
        # The mark says it.
        pass

    def append(self, record: Any) -> None:
        self._keys.append(record)

    def is_replaced(self) -> bool:
        return self.is_lost or self._keys.are_anothers()

    def _is_mark_ours(self, number: int | None) -> bool:
        """Whether no other sender has set the mark; None: it is gone."""
        assignment = self.assignment
        if number is None or number == assignment.before:
            return True
        return self.is_begun and Mark.of(number).epoch == assignment.epoch

    def close(self) -> None:
        self._keys.release()
        if self.on_end is not None and not self.is_lost:
            try:
                self.on_end()
            except CelerantError as exc:
                logger.warning("a handle from before does not lead here: %s", exc)

    def discard(self) -> None:
        self.on_end = None
        self._keys.discard()

    def again(self, report: Report, number: int | None, rest: Intervals) -> None:
        self._keys.lease()
        try:
            past = self._keys.read()
            assignment = past.again(self, report, number, rest)
        except BaseException:
            self._keys.release()
            raise
        self.renew(assignment)


class Keys:
    """The keys of one journal, and the lease of whoever writes it."""

    def __init__(self, broker: Broker, name: bytes) -> None:
        self._broker = broker
        self.name = name
        self.records, self.prints = name + b".records", name + b".prints"
        self._lease = name + b".lease"
        self._token = f"{sender()}, {os.urandom(4).hex()}".encode()
        self._released: threading.Event | None = None
        #: Whether the mark, as it was read, is that of the sender with this lease.
        self.is_mark_ours: Callable[[int | None], bool] = lambda _: True

    def lease(self) -> None:
        """Be the only sender, from now on.

        Raises:
            JournalError: Another one lives, or lived moments ago.
        """
        taken = self._tell(
            ("SET", self._lease, self._token, "NX", "PX", _LEASE_MS),
            ("GET", self._lease),
            ("PTTL", self._lease),
        )
        if taken[0] is None and taken[1] != self._token:
            who = (taken[1] or b"").decode(errors="replace").rpartition(",")[0]
            msg = (
                f"{who or 'another sender'} sends this group by its journal, or did so "
                f"until moments ago: if it is dead, try again in "
                f"{max(0, taken[2]) / 1000:.1f} s"
            )
            raise JournalError(msg)
        self._released = threading.Event()
        threading.Thread(
            target=self._renew,
            args=(self._released,),
            name="celerant-lease",
            daemon=True,
        ).start()

    def _renew(self, released: threading.Event) -> None:
        while not released.wait(_RENEW):
            try:
                if self.are_anothers():
                    # The mark keeps this one from sending more.
                    return
                self._tell(
                    # It is not set if another has taken it at this moment.
                    ("SET", self._lease, self._token, "NX", "PX", _LEASE_MS),
                    ("PEXPIRE", self._lease, _LEASE_MS),
                    ("EXPIRE", self.records, _TTL),
                    ("EXPIRE", self.prints, _TTL),
                )
            except CelerantError as exc:
                logger.warning("the lease of a group's journal is not renewed: %s", exc)

    def are_anothers(self) -> bool:
        """Whether another sender goes on with the group, or has done so.

        Raises:
            JournalError, PublishError: Redis does not say so.
        """
        holder, mark = self._tell(("GET", self._lease), ("GET", self.name))
        number = None if mark is None else int(mark)
        return holder not in {None, self._token} or not self.is_mark_ours(number)

    def release(self) -> None:
        """Let others go on."""
        released, self._released = self._released, None
        if released is None:
            return
        released.set()
        try:
            (holder,) = self._tell(("GET", self._lease))
            if holder == self._token:
                self._tell(("DEL", self._lease))
        except CelerantError as exc:
            logger.warning("the lease of a group's journal ends by itself: %s", exc)

    def create(self, head: dict[str, Any]) -> None:
        """Write the first record.

        Raises:
            JournalError: There is one.
        """
        (found,) = self._tell(("EXISTS", self.records))
        if found:
            msg = (
                "this group was sent with a journal already, under the same ids: go on "
                "with it by group(source).resume(handle), or make the group anew"
            )
            raise JournalError(msg)
        self.append(head)
        self._tell(("EXPIRE", self.records, _TTL))

    def read(self) -> Past:
        """Return what it holds.

        Raises:
            JournalError: There is none, or its mark is gone.
        """
        records, prints, mark, ttl = self._tell(
            ("LRANGE", self.records, 0, -1),
            ("GET", self.prints),
            ("GET", self.name),
            ("TTL", self.records),
        )
        if not records:
            msg = (
                "this group has no journal in Redis: it was not sent with journal=True "
                "from this broker, or that was more than a week ago"
            )
            raise JournalError(msg)
        past = Past.of("the journal in Redis", [orjson.loads(one) for one in records])
        past.prints = bytearray(prints or b"")
        # Its sender prolonged it for as long as it lived.
        past.written_at = time.time() - (_TTL - ttl)
        if past.epochs and mark is None:
            msg = (
                "the mark of this group's journal is gone from Redis (was it "
                "evicted?), so nobody knows what has left"
            )
            raise JournalError(msg)
        return past

    def append(self, record: Any) -> None:
        """Add a record."""
        self._tell(("RPUSH", self.records, orjson.dumps(record)))

    def discard(self) -> None:
        """Remove all keys."""
        self.release()
        self._tell(*(("DEL", key) for key in (self.records, self.prints, self.name)))

    def _tell(self, *commands: Command) -> list[Any]:
        replies = self._broker.tell(*commands)
        if replies is None:
            msg = (
                "journal=True keeps the journal in the broker, and that is no Redis: "
                "give the path of a file, as journal='group.journal'"
            )
            raise JournalError(msg)
        for reply in replies:
            if isinstance(reply, Exception):
                msg = f"Redis refuses the journal: {reply}"
                raise JournalError(msg) from reply
        return replies
