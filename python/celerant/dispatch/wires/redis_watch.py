"""The mark that a connection to Redis watches, if the server allows it."""

from __future__ import annotations

from typing import Any, NoReturn

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    ExecAbortError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from celerant._core import monotonic
from celerant.dispatch.wires.base import Broken, Unavailable
from celerant.dispatch.wires.redis_marks import Marks
from celerant.dispatch.wires.redis_talk import Talk

__all__ = ["MarkWatch", "refuse"]

#: Seconds that a mark lives: longer than any retry policy waits. A process that ends
#: without closing its app leaves one for each connection.
_MARK_TTL = 3600
#: If a chunk comes later than this, the mark's life is prolonged first.
_MARK_FRESH = _MARK_TTL / 2
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
        self.marks = Marks(prefix)
        #: The key that is watched; None: the server allows none.
        self.key: bytes | None = self.marks.common
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
        """Set the mark and watch it."""
        answers = self._talk.ask(
            # Setting a watched key would discard the next transaction.
            ("UNWATCH",),
            ("SET", self.key, 0, "NX", "EX", _MARK_TTL),
            ("EXPIRE", self.key, _MARK_TTL),
            ("WATCH", self.key),
        )
        for answer in answers:
            if isinstance(answer, Exception):
                refuse(answer)
        self._set_at = monotonic()

    def is_aging(self) -> bool:
        """Whether its life must be prolonged before it is used."""
        at = self._set_at
        return at is not None and monotonic() - at > _MARK_FRESH

    def ask(self, mark: bytes) -> int | None:
        """Read a mark and touch it, so that no earlier EXEC can come late."""
        values = self._talk.ask(
            ("MULTI",),
            ("GET", mark),
            ("EXPIRE", mark, _MARK_TTL),
            ("EXEC",),
            ("WATCH", mark),
        )[3]
        found = values if isinstance(values, Exception) else values[0]
        if isinstance(found, Exception):
            raise Broken(f"redis refused: {found}", recoverable=True) from found
        return None if found is None else int(found)


def refuse(cause: Exception, index: int | None = None) -> NoReturn:
    """Raise `Broken` for a refusal of Redis, with the member if one is to blame."""
    # Out of memory, read-only and the like pass by; a wrong type or right does not.
    passing = not isinstance(cause, NoPermissionError) and (
        str(cause).startswith(("OOM", "READONLY", "MISCONF", "LOADING"))
        or type(cause).__name__ in {"OutOfMemoryError", "ReadOnlyError"}
    )
    message = f"redis refused the messages: {cause}"
    raise Broken(message, recoverable=passing, index=index) from cause


def _is_refused(answer: Any) -> bool:
    """Whether EXEC itself is refused, and not what was queued before it."""
    if isinstance(answer, ExecAbortError):
        # `because of: NOPERM ..` is about EXEC, `of previous errors` is not.
        return "previous errors" not in str(answer)
    return isinstance(answer, ResponseError)
