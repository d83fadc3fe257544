"""Redis: chunks as ready RESP, each in one transaction that can be asked about later.

Each chunk is ``MULTI, LPUSH .., SET mark n, EXEC, WATCH mark`` in one write. `mark` is
a key of this wire, n counts its chunks: after a lost reply it tells whether chunk n is
in, and touching it makes a late EXEC of the old connection fail. So a chunk is enqueued
exactly once. Between dispatches mark and WATCH stay, and the next costs one round trip.

While a chunk's reply is awaited, the next one is written already, but for its EXEC: a
far server has it when that comes, and nothing of it is in if it never comes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError

from celerant._core import Chunk, Fate, Layout
from celerant.dispatch.envelope import Blueprint
from celerant.dispatch.journaling import Command
from celerant.dispatch.wires.base import Broken, Dispatch, Doubt, Wire, declare
from celerant.dispatch.wires.chunk_limits import NEAR, ChunkLimits
from celerant.dispatch.wires.redis_flight import Flight, is_in
from celerant.dispatch.wires.redis_layouts import RedisLayouts
from celerant.dispatch.wires.redis_talk import Talk
from celerant.dispatch.wires.redis_watch import MarkWatch, refuse
from celerant.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kombu import Connection

__all__ = ["RedisWire", "carries"]

#: How many transactions of one dispatch may be discarded before it is given up.
_MAX_DISCARDED = 3
_T = TypeVar("_T")
_LOST = (RedisConnectionError, RedisTimeoutError, OSError)


def carries(channel: Any) -> bool:
    """Whether this wire knows the channel: kombu's own, not somebody's subclass."""
    return (
        type(channel) in {kombu_redis.Channel, kombu_redis.SentinelChannel}
        and channel.body_encoding == "base64"
    )


class RedisWire(Wire):
    """One redis-py connection, one transaction in flight."""

    def __init__(self, connection: Connection) -> None:
        """Open the mark.

        Args:
            connection: A connected kombu connection.
        Raises:
            Broken: Redis refused the mark.
            RedisError, OSError: Redis vanished; nothing is sent yet, so the caller
                may connect elsewhere.
        """
        super().__init__()
        self._channel = connection.default_channel
        self._layouts = RedisLayouts(self._channel)
        self._talk = Talk(self._channel.pool)
        self._watch = MarkWatch(self._talk, self._channel.global_keyprefix)
        self._step = 0
        self._flight: Flight | None = None
        #: The next chunk, if the server has all of it but its end.
        self._opened: Flight | None = None
        #: Transactions that did nothing, because the mark had been touched.
        self._discarded = 0
        #: Whether nothing was heard from Redis since the dispatch began.
        self._is_doubtful = False
        #: Whether the right mark is watched for the dispatch.
        self._follows = True
        try:
            self._talk.connect()
            self._watch.find_rights()
        except BaseException:
            self.abort()
            self.close()
            raise

    def begin(self, dispatch: Dispatch) -> None:
        super().begin(dispatch)
        self._discarded = 0
        self._is_doubtful = True
        # Another connection may have set a journal's mark meanwhile.
        if dispatch.journal is not None or self._watch.journal is not None:
            self._follows = False

    def is_alive(self) -> bool:
        # Nobody knows how much was written of a chunk that has no end.
        return self._opened is None and self._talk.is_alive()

    @property
    def limits(self) -> ChunkLimits:
        """A far server gets more at once: one transaction is under way at a time."""
        # Telling the slots of a cluster apart takes the square of a chunk's length.
        return NEAR if self._watch.marks.is_by_slot else self._talk.limits

    # -- rendering -------------------------------------------------------------

    def declare(self, entities: Iterable[Any]) -> None:
        try:
            declare(entities, self._channel)
        except ResponseError as exc:
            refuse(exc)

    def render(self, blueprint: Blueprint) -> Layout | None:
        self.declare(blueprint.declare)
        try:
            queue = self._layouts.queue_of(blueprint)
        except ResponseError as exc:
            refuse(exc)
        if queue is None or blueprint.immediate:
            return None
        if self._watch.marks.is_by_slot:
            self.flush()
            if not self._watch.may_be_beside(self._layouts.key_of(queue, 0)):
                return None
        return self._layouts.layout_of(blueprint, queue)

    def header(self, value: Any) -> bytes:
        text: str = dumps(value)
        return text.encode()

    # -- sending ---------------------------------------------------------------

    def send(self, chunk: Chunk) -> None:
        if not chunk.has_wired:
            return
        if not self._follows:
            self.follow()
        if not self._watch.marks.is_by_slot:
            self._send(chunk)
            return
        # A transaction is of one slot.
        for mark, positions in self._watch.marks.of_chunk(chunk).items():
            if mark != self._watch.key:
                self.flush()
                self._watch.key = mark
                self._answer(self._watch.set)
            self._send(chunk.select(positions))

    def _send(self, chunk: Chunk) -> None:
        journal = self._watch.journal
        if journal is None:
            step = self._step = self._step + 1
        else:
            step = journal.mark.pack()
        # The chunk is encoded and written while the one before is under way.
        buffer, commands = chunk.redis(self._watch.key, step, os.urandom(16))
        flight = Flight.of(chunk, buffer, commands, step, *self._watch.opening())
        if self._flight is not None and not self._watch.is_aging():
            self._open(flight)
        self.flush()
        self._flight, opened, self._opened = flight, self._opened, None
        if opened is None:
            self._write(flight.buffer, flight.before, renews=self._watch.is_aging())
        else:
            self._write(flight.buffer[flight.end :])

    def _write(
        self, buffer: memoryview, before: bytes = b"", *, renews: bool = False
    ) -> None:
        """Write what is left of the chunk that is under way from now on."""
        try:
            if renews:
                self._watch.set()
            self._talk.write(buffer, before)
        except JournalError:
            self._drop(Fate.UNSENT)
            raise
        except _LOST as exc:
            self._recover(exc)

    def _open(self, flight: Flight) -> None:
        """Write a transaction but for its end, behind the one under way."""
        self._opened, begin = flight, flight.buffer[: flight.end]
        try:
            self._talk.write(begin, flight.before, is_whole=False)
        except _LOST as exc:
            self._recover(exc)

    def _retract(self) -> None:
        """Have the server forget the chunk that has no end yet, and the watch."""
        flight, self._opened = self._opened, None
        if flight is None:
            return
        try:
            self._talk.ask(("DISCARD",), behind=flight.replies)
        except _LOST:
            # It forgets with the connection, too.
            self._talk.disconnect()

    def flush(self) -> None:
        flight = self._flight
        if flight is None:
            return
        try:
            replies = [self._talk.reply() for _ in range(flight.replies + 1)]
            if self._watch.key is not None:
                self._talk.reply()
            self._talk.measure_write()
        except _LOST as exc:
            self._recover(exc)
            return
        self._is_doubtful = False
        self.dispatch.patience.reset()
        self._note(flight, replies[-1], replies[1:-1])

    def settle(self) -> None:
        flight, mark = self._flight, self._watch.key
        if flight is None or mark is None:
            return
        # Nobody knows how many replies were read, so another connection asks.
        self._leave()
        with self._talk.hurried():
            self._talk.connect()
            value = self._watch.ask(mark)
        found = is_in(value, flight.step)
        if found is not None:
            self._drop(Fate.CONFIRMED if found else Fate.UNSENT)

    def is_in(self, doubt: Doubt) -> bool | None:
        def ask() -> int | None:
            value = self._watch.ask(doubt.mark)
            if self._watch.key is not None and self._follows:
                # The question has ended the watch.
                self._watch.set()
            return value

        return is_in(self._answer(ask), doubt.step)

    # -- journals --------------------------------------------------------------

    def follow(self) -> None:
        if self._follows:
            return
        journal = self.dispatch.journal
        if self._watch.marks.is_by_slot or self._watch.key is None:
            if journal is not None:
                super().follow()
            self._follows = True
            return
        self.flush()
        self._answer(lambda: self._watch.follow(journal))
        self._follows = True

    def tell(self, *commands: Command) -> list[Any] | None:
        prefixed = [self._watch.command(command) for command in commands]
        return self._answer(lambda: self._talk.ask(*prefixed), unwatched=True)

    def look(self, name: bytes) -> int | None:
        if self._watch.marks.is_by_slot or self._watch.key is None:
            return None
        # The question ends the watch.
        self._follows = False
        return self._answer(lambda: self._watch.look(name))

    def abort(self) -> None:
        flight = self._flight
        if flight is not None:
            self.dispatch.ledger.mark(flight.chunk, Fate.UNKNOWN)
            if self._watch.key is not None:
                doubt = Doubt(flight.chunk, self._watch.key, flight.step)
                self.dispatch.doubts.append(doubt)
            self._flight = None
        self._leave()

    def close(self) -> None:
        marks = [] if self._watch.key is None else self._watch.marks.all()
        # Otherwise each has a TTL.
        self._talk.close(*(("DEL", mark) for mark in marks))

    def _leave(self) -> None:
        """Leave the server, which forgets a chunk without its end."""
        self._opened = None
        self._talk.disconnect()

    def _drop(self, fate: Fate) -> None:
        """Tell the fate of the chunk in flight, which is in flight no more."""
        flight = self._flight
        assert flight is not None  # noqa: S101 - the caller has one
        # First: an interruption would leave a chunk that is in and is nowhere noted.
        self.dispatch.ledger.mark(flight.chunk, fate)
        self._flight = None

    def _note(self, flight: Flight, executed: Any, queued: list[Any]) -> None:
        """Note the reply of EXEC."""
        if executed is None:
            self._renew(flight)
            return
        if isinstance(executed, Exception):
            # Nothing was done; the command that could not be queued tells why.
            refusals, of_taken = queued, Fate.REJECTED
        else:
            # EXEC runs all commands; a push that failed pushed nothing.
            refusals, of_taken = executed, Fate.CONFIRMED
            self._watch.reached = flight.step
        answers = (*refusals, executed)
        cause: Any = next((r for r in answers if isinstance(r, Exception)), None)
        if cause is None:
            self._drop(Fate.CONFIRMED)
            if self._watch.journal is not None:
                # Whoever looks at its mark touches it.
                self._discarded = 0
            return
        parts, culprit = flight.fates(refusals, of_taken)
        self.dispatch.ledger.mark_parts(flight.chunk, parts)
        self._flight = None
        refuse(cause, culprit)

    def _renew(self, flight: Flight) -> None:
        """Send a discarded chunk again: the mark was touched, so nothing of it is in.

        The mark has expired while a generator paused, or was evicted.
        """
        self._retract()
        self._discarded += 1
        if self._discarded > _MAX_DISCARDED:
            self._drop(Fate.REJECTED)
            cause = WatchError("the watched mark was touched")
            message = "redis discards the transactions: is something deleting its keys?"
            raise Broken(message, recoverable=True) from cause
        self._write(flight.buffer, flight.before, renews=True)
        self.flush()

    # -- a lost reply -------------------------------------------------------------

    def _answer(self, ask: Callable[[], _T], *, unwatched: bool = False) -> _T:
        """Return the answer to a question, asked again within the retry policy.

        Args:
            ask: Asks it.
            unwatched: Whether it watches nothing on a new connection.
        """
        while True:
            try:
                self._talk.connect()
                return ask()
            except _LOST as exc:
                self._again(exc)
                if unwatched:
                    self._follows = False

    def _recover(self, exc: BaseException) -> None:
        """Find out whether the chunk in flight is in; send it again if not."""
        flight = self._flight
        if flight is None:  # pragma: no cover - callers hold one
            raise exc
        if self._watch.key is None:
            self.abort()
            message = f"redis: the reply to a chunk was lost: {exc}"
            raise Broken(message, recoverable=True) from exc
        while True:
            self._again(exc)
            try:
                self._talk.connect()
                value = self._watch.ask(self._watch.key)
                if value == flight.step:
                    self._watch.reached = value
                    self._drop(Fate.CONFIRMED)
                    return
                if value is None:
                    self.abort()
                    raise Broken("redis lost the dispatch's mark", recoverable=True)
                if is_in(value, flight.step) is None:
                    self._drop(Fate.UNKNOWN)
                    raise self._watch.lost()
                self._talk.write(flight.buffer, flight.before)
                self.flush()
            except _LOST as again:
                exc = again
                continue
            return

    def _again(self, exc: BaseException) -> None:
        self._leave()
        if self._is_doubtful:
            # It died while nobody used it; finding that out does not count as a try.
            self._is_doubtful = False
            return
        try:
            self.dispatch.patience.pause(exc)
        except Exception:  # noqa: BLE001 - the last try's own error
            self.abort()
            message = f"redis did not answer: {exc}"
            raise Broken(message, recoverable=True) from exc
