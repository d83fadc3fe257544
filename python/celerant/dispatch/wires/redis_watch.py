"""The mark that a connection to Redis watches, if the server allows it."""

from __future__ import annotations

from typing import Any, NoReturn

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    ExecAbortError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from celerant._core import monotonic
from celerant.common.redis_refusals import is_passing
from celerant.dispatch.journaling import Command, Journal, Mark
from celerant.dispatch.wires.base import Broken, Unavailable
from celerant.dispatch.wires.redis_flight import MULTI
from celerant.dispatch.wires.redis_marks import Marks
from celerant.dispatch.wires.redis_talk import Talk
from celerant.errors import JournalError

__all__ = ["MarkWatch", "refuse"]

#: Seconds that a mark lives: longer than any retry policy waits. A process that ends
#: without closing its app leaves one for each connection.
_MARK_TTL = 3600
#: If a chunk comes later than this, the mark's life is prolonged first.
_MARK_FRESH = _MARK_TTL / 2
#: The same of a journal's: a week.
_JOURNAL_TTL = 7 * 24 * 3600
#: The errors of a cluster about a key that is elsewhere, or not beside the others.
_ELSEWHERE = (AskError, ClusterCrossSlotError, ClusterDownError, TryAgainError)


class MarkWatch:
    """Sets a mark, watches it and asks about marks.

    Args:
        talk: The connection that watches.
        prefix: kombu's `global_keyprefix`.
    """

    def __init__(self, talk: Talk, prefix: str) -> None:
        self._talk = talk
        self._prefix = prefix.encode()
        self.marks = Marks(prefix)
        #: The key that is watched; None: the server allows none.
        self.key: bytes | None = self.marks.common
        #: The journal whose mark that is; None: it is the connection's own.
        self.journal: Journal | None = None
        #: What the mark is, as far as that is known.
        self.reached = 0
        #: Monotonic time at which its life was last prolonged.
        self._set_at: float | None = None

    def find_rights(self) -> None:
        """Find out which rights Redis gives to a wire.

        Raises:
            Unavailable: No transactions, or no connection beside the channel's own.
        """
        try:
            # The channel's own client needs a connection to declare queues.
            self._talk.check_second()
        except RedisError as exc:
            # It does not, if the first one is lost too.
            self._talk.ask(("PING",))
            raise Unavailable(f"no second connection ({exc})") from exc
        assert self.key is not None  # noqa: S101 - nothing has changed it yet
        # A second key; a cluster answers that it is elsewhere.
        marks = (self.key, b"%b.2" % self.key)
        multi, *queued, executed = self._talk.ask(
            ("MULTI",), *(("EXISTS", mark) for mark in marks), ("EXEC",)
        )
        if any(isinstance(answer, _ELSEWHERE) for answer in (*queued, executed)):
            self.marks.is_by_slot, self.key = True, None
            return
        if isinstance(multi, ResponseError) or _is_refused(executed):
            raise Unavailable(f"no transactions ({multi}, {executed})")
        try:
            self.set()
        except Broken as exc:
            if exc.recoverable:
                raise
            # Then it goes without a mark: a lost reply leaves a chunk unknown.
            self._talk.ask(("DEL", self.key))
            self.key = None
            # It may still be watched.
            self._talk.disconnect()
            self._talk.connect()

    def may_be_beside(self, key: bytes) -> bool:
        """Whether a mark can be set beside a queue of a cluster."""
        self.key = self.marks.beside(key)
        try:
            self.set()
        except Broken as exc:
            if exc.recoverable:
                raise
            return False
        return True

    def set(self) -> None:
        """Set the mark, unless it is there, and watch it.

        Raises:
            JournalError: It is a journal's, and another sender goes by that.
        """
        ttl = _MARK_TTL if self.journal is None else _JOURNAL_TTL
        found = self._replies(
            # Setting a watched key would discard the next transaction.
            ("UNWATCH",),
            ("SET", self.key, self.reached, "NX", "EX", ttl),
            ("EXPIRE", self.key, ttl),
            ("WATCH", self.key),
            ("GET", self.key),
        )[-1]
        self._set_at = monotonic()
        if self.journal is None:
            return
        self.reached = int(found)
        if Mark.of(self.reached).epoch != self.journal.mark.epoch:
            raise self.lost()

    def follow(self, journal: Journal | None) -> None:
        """Watch the mark of a journal, or the connection's own again.

        Nothing is under way.

        Raises:
            JournalError: Another sender goes by it.
        """
        self.journal, self.key, self.reached = None, self.marks.common, 0
        if journal is not None:
            self.key, self.reached = self.prefixed(journal.name), journal.mark.pack()
            if not journal.is_begun or journal.mark == Mark(journal.mark.epoch):
                self._begin(journal)
            self.journal = journal
        self.set()

    def _begin(self, journal: Journal) -> None:
        """Begin the journal's epoch, if the mark is as it was found.

        It may have begun already, if the reply to that was lost.
        """
        first = journal.mark.pack()
        found = self._replies(("UNWATCH",), ("WATCH", self.key), ("GET", self.key))[-1]
        number = None if found is None else int(found)
        if number == first and journal.is_begun:
            return
        executed = None
        if number == journal.assignment.before:
            journal.is_begun = False
            executed = self._replies(
                ("MULTI",),
                *map(self.command, journal.begin()),
                ("SET", self.key, first, "EX", _JOURNAL_TTL),
                ("EXEC",),
            )[-1]
        if executed is None:
            raise journal.lose()

    def prefixed(self, name: bytes) -> bytes:
        """Return a key with kombu's prefix."""
        return self._prefix + name

    def command(self, command: Command) -> Command:
        """Return a command with its key prefixed."""
        name, key, *rest = command
        return (name, self.prefixed(key), *rest)

    def opening(self) -> tuple[bytes, int]:
        """Return the begin of a transaction in which the journal keeps something.

        A sender that was replaced changes nothing then.

        Returns:
            MULTI and its commands, and how many those are; b"" and 0 if there are none.
        """
        journal = self.journal
        if journal is None or not journal.beside:
            return b"", 0
        commands = map(self.command, journal.beside)
        return MULTI + self._talk.pack(commands), len(journal.beside)

    def lost(self) -> JournalError:
        """Return what is raised once the mark is another sender's."""
        assert self.journal is not None  # noqa: S101 - only its mark has epochs
        return self.journal.lose()

    def _replies(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Return the replies, or refuse the first that is an error."""
        answers = self._talk.ask(*commands)
        for answer in answers:
            if isinstance(answer, Exception):
                refuse(answer)
        return answers

    def is_aging(self) -> bool:
        """Whether its life must be prolonged before it is used."""
        at = self._set_at
        return at is not None and monotonic() - at > _MARK_FRESH

    def ask(self, mark: bytes, ttl: int | None = None) -> int | None:
        """Read a mark and touch it, so that no earlier EXEC can come late.

        Args:
            mark: Its key.
            ttl: Seconds that it lives from now on; None: as the one that is watched.
        """
        if ttl is None:
            ttl = _MARK_TTL if self.journal is None else _JOURNAL_TTL
        values = self._talk.ask(
            # Else the transaction does nothing if another has touched what is watched.
            ("UNWATCH",),
            ("MULTI",),
            ("GET", mark),
            ("EXPIRE", mark, ttl),
            ("EXEC",),
            ("WATCH", mark),
        )[4]
        found = values if isinstance(values, Exception) else values[0]
        if isinstance(found, Exception):
            raise Broken(f"redis refused: {found}", recoverable=True) from found
        return None if found is None else int(found)

    def look(self, name: bytes) -> int | None:
        """Read the mark of a journal, and touch it."""
        return self.ask(self.prefixed(name), _JOURNAL_TTL)


def refuse(cause: Exception, index: int | None = None) -> NoReturn:
    """Raise `Broken` for a refusal of Redis, with the member if one is to blame."""
    message = f"redis refused the messages: {cause}"
    raise Broken(message, recoverable=is_passing(cause), index=index) from cause


def _is_refused(answer: Any) -> bool:
    """Whether EXEC itself is refused, and not what was queued before it."""
    if isinstance(answer, ExecAbortError):
        # `because of: NOPERM ..` is about EXEC, `of previous errors` is not.
        return "previous errors" not in str(answer)
    return isinstance(answer, ResponseError)
