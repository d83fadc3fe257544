"""Redis: chunks as ready RESP, each in one transaction that can be asked about later.

Each chunk is ``MULTI, LPUSH .., SET mark n, EXEC, WATCH mark`` in one write. `mark` is
a key of this wire, n counts its chunks: after a lost reply it says whether chunk n is
in, and touching it makes a late EXEC of the old connection fail. So a chunk is enqueued
exactly once. Between dispatches mark and WATCH stay, and the next costs one round trip.
"""

from __future__ import annotations

import math
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import redis as redis_py
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    ExecAbortError,
    NoPermissionError,
    RedisError,
    ResponseError,
    TryAgainError,
    WatchError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from celerant._core import Chunk, Fate, Form, monotonic
from celerant.dispatch.blueprints import Drawn
from celerant.dispatch.envelope import OWN, SLOTS, Blueprint
from celerant.dispatch.wires.base import (
    Broken,
    Dispatch,
    Doubt,
    Unavailable,
    Wire,
    declare,
    unfit,
)
from celerant.dispatch.wires.redis_marks import Marks
from celerant.dispatch.wires.volleys import NEAR, Volley, volley_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kombu import Connection

__all__ = ["RedisWire", "carries"]

#: Seconds that a mark lives: longer than any retry policy waits. A process that ends
#: without closing its app leaves one for each connection.
_MARK_TTL = 3600
#: A chunk that comes later than this has the mark's life prolonged first.
_MARK_FRESH = _MARK_TTL / 2
#: Discarded transactions of one dispatch before it is given up.
_MAX_DISCARDED = 3
#: Seconds that a server may take to delete the mark before it is left to its TTL, or
#: to say what has become of an interrupted chunk.
_FAREWELL = 1.0
#: What `get_connection` wants before redis-py 5.3, and warns of afterwards.
_FOR_COMMAND = ("MULTI",) if redis_py.VERSION < (5, 3) else ()
#: What a cluster says of a key that is not here, or not beside the others.
_ELSEWHERE = (AskError, ClusterCrossSlotError, ClusterDownError, TryAgainError)
_LOST = (RedisConnectionError, RedisTimeoutError, OSError)
#: Bytes per write.
_WRITE = 256 * 1024
_SLOT = re.compile(
    '"({bare})"|({id}|{argsrepr}|{kwargsrepr}|{body}|{tag})'.format(
        bare="|".join(SLOTS[name] for name in ("group_index", *OWN)), **SLOTS
    )
)
_NAMES = {text: name for name, text in SLOTS.items()}


def carries(channel: Any) -> bool:
    """Whether this wire knows the channel: kombu's own, not somebody's subclass."""
    return (
        type(channel) in {kombu_redis.Channel, kombu_redis.SentinelChannel}
        and channel.body_encoding == "base64"
    )


def _is_connected(redis: Any) -> bool:
    # Older versions of redis-py do not tell.
    return bool(getattr(redis, "is_connected", getattr(redis, "_sock", None)))


class _Flight:
    """A chunk whose reply is awaited."""

    __slots__ = ("buffer", "chunk", "commands", "step")

    def __init__(self, chunk: Chunk, buffer: bytes, commands: int, step: int) -> None:
        self.chunk = chunk
        self.buffer = buffer
        self.commands = commands
        self.step = step


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
        self._prefix = self._channel.global_keyprefix
        self._marks = Marks(self._prefix)
        #: The key that is watched; None: none can be.
        self._mark: bytes | None = self._marks.common
        #: Monotonic; when the mark was last given its whole life.
        self._marked_at: float | None = None
        self._step = 0
        self._flight: _Flight | None = None
        #: Transactions in which nothing was done, as the mark had been touched.
        self._discarded = 0
        #: Whether nothing was heard from Redis since the dispatch began.
        self._is_doubtful = False
        self._pool = self._channel.pool
        self._redis: Any = None
        #: Seconds: the shortest that this connection has answered in.
        self._round_trip = math.inf
        self._volley = NEAR
        #: Monotonic; when a chunk was written, if that is measured.
        self._written_at = 0.0
        try:
            self._connect()
            self._find_rights()
        except BaseException:
            self.abort()
            self.close()
            raise

    def begin(self, dispatch: Dispatch) -> None:
        super().begin(dispatch)
        self._discarded = 0
        self._is_doubtful = True

    def is_alive(self) -> bool:
        try:
            # What can be read now is the end of the connection, or nothing of ours.
            return not self._redis.can_read(0)
        except (RedisError, OSError):
            return False

    @property
    def volley(self) -> Volley:
        """More of a server that is far: one transaction is under way at a time."""
        return self._volley

    def _measure(self, took: float) -> None:
        """Note that an answer took so many seconds."""
        if took < self._round_trip:
            self._round_trip = took
            self._volley = volley_over(took)

    # -- rendering -------------------------------------------------------------

    def declare(self, entities: Iterable[Any]) -> None:
        try:
            declare(entities, self._channel)
        except ResponseError as exc:
            self._refuse(exc)

    def render(self, drawn: Drawn) -> Form | None:
        blueprint = drawn.blueprint
        self.declare(blueprint.declare)
        try:
            key = self._key(blueprint)
        except ResponseError as exc:
            self._refuse(exc)
        if key is None or blueprint.immediate:
            return None
        if self._marks.is_by_slot:
            self.flush()
            if not self._may_mark(self._full_key(key, 0)):
                return None
        properties = dict(blueprint.properties, delivery_mode=blueprint.delivery_mode)
        body = blueprint.body
        message = self._channel.prepare_message(
            SLOTS["body"],
            blueprint.priority,
            body.content_type,
            body.content_encoding,
            blueprint.headers,
            properties,
        )
        message["properties"].update(body_encoding="base64", delivery_tag=SLOTS["tag"])
        message["properties"]["delivery_info"].update(
            exchange=blueprint.exchange, routing_key=blueprint.routing_key
        )
        # Before 5.7 kombu's queues on Redis did not expire.
        expire: int = getattr(self._channel, "_expires", {}).get(key, 0)
        steps = self._channel.priority_steps if expire else ()
        priority = self._channel._get_message_priority(message, reverse=False)  # noqa: SLF001
        try:
            text = dumps(message)
        except Exception as exc:
            raise unfit(exc) from exc
        return Form.redis(
            _cut(text),
            key=self._full_key(key, priority),
            expire=[(self._full_key(key, step), expire) for step in steps],
        )

    def header(self, value: Any) -> bytes:
        text: str = dumps(value)
        return text.encode()

    def _key(self, blueprint: Blueprint) -> str | None:
        """Return the one queue that the message goes to, if it is one."""
        if not blueprint.exchange:
            return blueprint.routing_key
        if self._channel.typeof(blueprint.exchange).type != "direct":
            return None
        queues = list(self._channel._lookup(blueprint.exchange, blueprint.routing_key))  # noqa: SLF001
        if not queues and blueprint.mandatory is not False:
            # kombu would drop the message without a word.
            message = (
                f"redis: no queue is bound to exchange {blueprint.exchange!r} under "
                f"routing key {blueprint.routing_key!r}"
            )
            raise Broken(message, recoverable=False)
        return queues[0] if len(queues) == 1 else None

    def _full_key(self, queue: str, priority: int) -> bytes:
        key: str = self._channel._q_for_pri(queue, priority)  # noqa: SLF001 - kombu's own key
        return f"{self._prefix}{key}".encode()

    # -- sending ---------------------------------------------------------------

    def send(self, chunk: Chunk) -> None:
        if not self._marks.is_by_slot:
            self._send(chunk)
            return
        # A transaction is of one slot.
        for mark, positions in self._marks.of_chunk(chunk).items():
            if mark != self._mark:
                self.flush()
                self._mark = mark
                self._probe_again()
            self._send(chunk.select(positions))

    def _send(self, chunk: Chunk) -> None:
        step = self._step + 1
        # Encoded while the chunk before is under way.
        buffer, commands = chunk.redis(self._mark, step, os.urandom(16))
        self.flush()
        self._step = step
        self._flight = _Flight(chunk, buffer, commands, step)
        try:
            if self._is_aging():
                self._probe()
            self._write(buffer)
        except _LOST as exc:
            self._recover(exc)
        if self._volley is not NEAR:
            self._written_at = monotonic()

    def flush(self) -> None:
        flight = self._flight
        if flight is None:
            return
        try:
            replies = [self._reply() for _ in range(flight.commands + 2)]
            if self._mark is not None:
                self._reply()
            if self._volley is not NEAR:
                # When it was opened this machine, or the server, may have been busy.
                self._measure(monotonic() - self._written_at)
        except _LOST as exc:
            self._recover(exc)
            return
        self._is_doubtful = False
        self.dispatch.patience.reset()
        self._note(flight, replies[-1], replies[1:-1])

    def settle(self) -> None:
        flight, mark = self._flight, self._mark
        if flight is None or mark is None:
            return
        # How much of the replies was read nobody knows: another connection asks.
        self._redis.disconnect()
        with self._hurried():
            self._redis.connect()
            value = self._ask(mark)
        if value is not None:
            is_in = value >= flight.step
            fate = Fate.CONFIRMED if is_in else Fate.UNSENT
            self.dispatch.ledger.mark(flight.chunk, fate)
            self._flight = None

    @contextmanager
    def _hurried(self) -> Iterator[None]:
        """Let the connection wait for little time."""
        redis = self._redis
        before = redis.socket_timeout, redis.socket_connect_timeout
        redis.socket_timeout = redis.socket_connect_timeout = _FAREWELL
        try:
            yield
        finally:
            redis.socket_timeout, redis.socket_connect_timeout = before

    def is_in(self, doubt: Doubt) -> bool | None:
        while True:
            try:
                value = self._ask(doubt.mark)
                if self._mark is not None:
                    # What was asked has ended the watch.
                    self._probe()
            except _LOST as exc:
                self._again(exc)
                with suppress(*_LOST):
                    self._connect()
            else:
                return None if value is None else value >= doubt.step

    def abort(self) -> None:
        flight = self._flight
        if flight is not None:
            self.dispatch.ledger.mark(flight.chunk, Fate.UNKNOWN)
            if self._mark is not None:
                doubt = Doubt(flight.chunk, self._mark, flight.step)
                self.dispatch.doubts.append(doubt)
            self._flight = None
        if self._redis is not None:
            self._redis.disconnect()

    def close(self) -> None:
        redis, self._redis = self._redis, None
        if redis is None:
            return
        try:
            if self._mark is not None and _is_connected(redis):
                commands = [("DEL", mark) for mark in self._marks.all()]
                packed = redis.pack_commands(commands)
                redis.send_packed_command(packed, check_health=False)
                # Once it answers, it has not lost the command with the connection.
                redis.can_read(_FAREWELL)
        except (RedisError, OSError):
            # The mark has a TTL.
            pass
        finally:
            redis.disconnect()
            self._pool.release(redis)

    def _note(self, flight: _Flight, outcome: Any, queued: list[Any]) -> None:
        """Note what EXEC said."""
        if outcome is None:
            self._renew(flight)
            return
        if isinstance(outcome, Exception):
            # Nothing was done; what could not even be queued says why.
            refusals, fates = queued, Fate.REJECTED
        else:
            # EXEC runs all commands; a push that failed pushed nothing.
            refusals, fates = outcome, Fate.CONFIRMED
        culprit: int | None = None
        cause: Any = next((r for r in refusals if isinstance(r, Exception)), None)
        if cause is None and isinstance(outcome, Exception):
            cause = outcome
        if cause is None:
            self.dispatch.ledger.mark(flight.chunk, Fate.CONFIRMED)
            self._flight = None
            return
        at = 0
        for commands, members in flight.chunk.by_route():
            is_refused = isinstance(refusals[at], Exception)
            if is_refused and culprit is None:
                culprit = members[0]
            for index in members:
                fate = Fate.REJECTED if is_refused else fates
                self.dispatch.ledger.mark_index(index, fate)
            at += commands
        self._flight = None
        self._refuse(cause, culprit)

    def _renew(self, flight: _Flight) -> None:
        """Send a discarded chunk again: the mark was touched, so nothing of it is in.

        The mark has expired while a generator paused, or was evicted.
        """
        self._discarded += 1
        if self._discarded > _MAX_DISCARDED:
            self.dispatch.ledger.mark(flight.chunk, Fate.REJECTED)
            self._flight = None
            cause = WatchError("the watched mark was touched")
            message = "redis discards the transactions: is something deleting its keys?"
            raise Broken(message, recoverable=True) from cause
        try:
            self._probe()
            self._write(flight.buffer)
        except _LOST as exc:
            self._recover(exc)
            return
        self.flush()

    @staticmethod
    def _refuse(cause: Exception, index: int | None = None) -> NoReturn:
        # Out of memory, read-only and the like pass; a wrong type or right does not.
        passing = not isinstance(cause, NoPermissionError) and (
            str(cause).startswith(("OOM", "READONLY", "MISCONF", "LOADING"))
            or type(cause).__name__ in {"OutOfMemoryError", "ReadOnlyError"}
        )
        message = f"redis refused the messages: {cause}"
        raise Broken(message, recoverable=passing, index=index) from cause

    # -- the mark ----------------------------------------------------------------

    def _connect(self) -> None:
        if self._redis is None:
            self._redis = self._pool.get_connection(*_FOR_COMMAND)
        self._redis.connect()

    def _find_rights(self) -> None:
        """Find out what Redis lets a wire do.

        Raises:
            Unavailable: No transactions, or no connection beside the channel's own.
        """
        try:
            # The channel's own client needs one to declare queues.
            self._pool.release(self._pool.get_connection(*_FOR_COMMAND))
        except RedisError as exc:
            # Unless the first one is lost, too.
            self._ask_all(("PING",))
            raise Unavailable(f"no second connection ({exc})") from exc
        assert self._mark is not None  # noqa: S101 - nothing has changed it yet
        # A second key, of which a cluster says that it is elsewhere.
        marks = (self._mark, b"%b.2" % self._mark)
        multi, *queued, outcome = self._ask_all(
            ("MULTI",), *(("EXISTS", mark) for mark in marks), ("EXEC",)
        )
        if any(isinstance(answer, _ELSEWHERE) for answer in (*queued, outcome)):
            self._marks.is_by_slot, self._mark = True, None
            return
        if isinstance(multi, ResponseError) or _is_refused(outcome):
            raise Unavailable(f"no transactions ({multi}, {outcome})")
        try:
            self._probe()
        except Broken as exc:
            if exc.recoverable:
                raise
            # Then without: a lost reply leaves a chunk unknown.
            self._ask_all(("DEL", self._mark))
            self._mark = None
            # It may be watched all the same.
            self._redis.disconnect()
            self._redis.connect()

    def _may_mark(self, key: bytes) -> bool:
        """Whether a mark can be set beside a queue of a cluster."""
        self._mark = self._marks.beside(key)
        try:
            self._probe()
        except Broken as exc:
            if exc.recoverable:
                raise
            return False
        return True

    def _probe(self) -> None:
        """Set the mark and watch it."""
        answers = self._ask_all(
            # Setting a watched key would discard the next transaction.
            ("UNWATCH",),
            ("SET", self._mark, 0, "NX", "EX", _MARK_TTL),
            ("EXPIRE", self._mark, _MARK_TTL),
            ("WATCH", self._mark),
        )
        for answer in answers:
            if isinstance(answer, Exception):
                self._refuse(answer)
        self._marked_at = monotonic()

    def _probe_again(self) -> None:
        """Set the mark and watch it, within the retry policy."""
        while True:
            try:
                self._connect()
                self._probe()
            except _LOST as exc:
                self._again(exc)
            else:
                return

    def _is_aging(self) -> bool:
        at = self._marked_at
        return at is not None and monotonic() - at > _MARK_FRESH

    def _recover(self, exc: BaseException) -> None:
        """Find out whether the chunk in flight is in; send it again if not."""
        flight = self._flight
        if flight is None:  # pragma: no cover - callers hold one
            raise exc
        if self._mark is None:
            self.abort()
            message = f"redis: the reply to a chunk was lost: {exc}"
            raise Broken(message, recoverable=True) from exc
        while True:
            self._again(exc)
            try:
                self._connect()
                value = self._ask(self._mark)
                if value == flight.step:
                    self.dispatch.ledger.mark(flight.chunk, Fate.CONFIRMED)
                    self._flight = None
                    return
                if value is None:
                    self.abort()
                    raise Broken("redis lost the dispatch's mark", recoverable=True)
                self._write(flight.buffer)
                self.flush()
            except _LOST as again:
                exc = again
                continue
            return

    def _ask(self, mark: bytes) -> int | None:
        """Read a mark and touch it, so that no EXEC of before can come late."""
        values = self._ask_all(
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

    def _again(self, exc: BaseException) -> None:
        # The next one may be of another server.
        self._round_trip = math.inf
        if self._redis is not None:
            self._redis.disconnect()
        if self._is_doubtful:
            # It died while nobody used it: finding that out is not a try.
            self._is_doubtful = False
            return
        try:
            self.dispatch.patience.pause(exc)
        except Exception:  # noqa: BLE001 - the last try's own error
            self.abort()
            message = f"redis did not answer: {exc}"
            raise Broken(message, recoverable=True) from exc

    def _write(self, buffer: bytes) -> None:
        """Write in pieces; the limit for a server that stalls is one for each."""
        whole = memoryview(buffer)
        pieces = [whole[at : at + _WRITE] for at in range(0, len(whole), _WRITE)]
        self._redis.send_packed_command(pieces, check_health=False)

    def _ask_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands in one write and return their replies, error replies too."""
        packed, started = self._redis.pack_commands(commands), monotonic()
        self._redis.send_packed_command(packed, check_health=False)
        replies = [self._reply()]
        self._measure(monotonic() - started)
        replies += (self._reply() for _ in commands[1:])
        return replies

    def _reply(self) -> Any:
        """Read one reply; an error is returned, for others behind it must be read."""
        try:
            return self._redis.read_response()
        except ResponseError as exc:
            return exc


def _is_refused(answer: Any) -> bool:
    """Whether EXEC itself is refused, and not what was queued before it."""
    if isinstance(answer, ExecAbortError):
        # `because of: NOPERM ..` is said of EXEC, `of previous errors` is not.
        return "previous errors" not in str(answer)
    return isinstance(answer, ResponseError)


def _cut(text: str) -> list[str | tuple[str]]:
    """Cut rendered JSON at its slots: constant text, and slot names as 1-tuples."""
    parts: list[str | tuple[str]] = []
    at = 0
    for found in _SLOT.finditer(text):
        parts += [text[at : found.start()], (_NAMES[found[1] or found[2]],)]
        at = found.end()
    parts.append(text[at:])
    return parts
