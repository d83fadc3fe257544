"""One connection to Redis, spoken to in ready bytes, outside redis-py's own retries."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from celerant._core import monotonic
from celerant.common.redis_pool import connection_of
from celerant.dispatch.wires.chunk_limits import NEAR, limits_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Talk"]

#: Seconds that a server may take to read the last commands, or to tell the fate of an
#: interrupted chunk.
_FAREWELL = 1.0
#: Bytes per write.
_WRITE = 256 * 1024


def _is_connected(redis: Any) -> bool:
    # Older versions of redis-py do not tell.
    return bool(getattr(redis, "is_connected", getattr(redis, "_sock", None)))


class Talk:
    """A connection of a pool, kept until it is closed.

    Methods that send or read raise redis-py's errors, and `OSError`.

    Args:
        pool: redis-py's.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._redis: Any = None
        #: The shortest time in which this connection has answered, in seconds.
        self._round_trip = math.inf
        #: How much should be written before an answer is awaited.
        self.limits = NEAR
        #: Monotonic time of the last whole write to a far server.
        self._written_at = 0.0

    def connect(self) -> None:
        """Connect, unless it is connected."""
        if self._redis is None:
            self._redis = connection_of(self._pool, "MULTI")
        self._redis.connect()

    def disconnect(self) -> None:
        """Leave the server; a second call does nothing."""
        # The next server may be another.
        self._round_trip = math.inf
        if self._redis is not None:
            self._redis.disconnect()

    def close(self, *farewell: tuple[Any, ...]) -> None:
        """Send last commands, if it is connected, and give the connection back."""
        redis, self._redis = self._redis, None
        if redis is None:
            return
        try:
            if farewell and _is_connected(redis):
                packed = redis.pack_commands(farewell)
                redis.send_packed_command(packed, check_health=False)
                # Once it answers, the commands were not lost with the connection.
                redis.can_read(_FAREWELL)
        except (RedisError, OSError):
            # Without them the keys expire by themselves.
            pass
        finally:
            redis.disconnect()
            self._pool.release(redis)

    def check_second(self) -> None:
        """Find out whether another connection can be opened beside this one."""
        self._pool.release(connection_of(self._pool, "MULTI"))

    def is_alive(self) -> bool:
        """Whether it is connected, as far as this side can see."""
        try:
            # Anything to read now is the end of the connection, or not meant for us.
            return not self._redis.can_read(0)
        except (RedisError, OSError):
            return False

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Wait only for a short time."""
        redis = self._redis
        before = redis.socket_timeout, redis.socket_connect_timeout
        redis.socket_timeout = redis.socket_connect_timeout = _FAREWELL
        try:
            yield
        finally:
            redis.socket_timeout, redis.socket_connect_timeout = before

    def write(
        self, buffer: memoryview, before: bytes = b"", *, is_whole: bool = True
    ) -> None:
        """Write in pieces; the limit for a server that stalls is one for each.

        Args:
            buffer: Commands.
            before: Short ones, which go with the first piece.
            is_whole: Whether the answer comes without more being written.
        """
        pieces = [buffer[at : at + _WRITE] for at in range(0, len(buffer), _WRITE)]
        if before:
            pieces[0] = memoryview(b"".join((before, pieces[0])))
        self._redis.send_packed_command(pieces, check_health=False)
        if is_whole and self.limits is not NEAR:
            self._written_at = monotonic()

    def pack(self, commands: Iterable[tuple[Any, ...]]) -> bytes:
        """Return commands as they are written."""
        return b"".join(self._redis.pack_commands(commands))

    def ask(self, *commands: tuple[Any, ...], behind: int = 0) -> list[Any]:
        """Send commands in one write and return their replies, error replies too.

        Args:
            commands: The commands.
            behind: How many replies to earlier commands come before; they are dropped.
        """
        packed, started = self._redis.pack_commands(commands), monotonic()
        self._redis.send_packed_command(packed, check_health=False)
        for _ in range(behind):
            self.reply()
        replies = [self.reply()]
        self.measure(monotonic() - started)
        replies += (self.reply() for _ in commands[1:])
        return replies

    def reply(self) -> Any:
        """Read one reply.

        An error is returned, since other replies behind it must be read.
        """
        try:
            return self._redis.read_response()
        except ResponseError as exc:
            return exc

    def measure_write(self) -> None:
        """Note that the answer to the last whole one has come, if the server seems far.

        This machine, or the server, may have been busy when it was found so.
        """
        if self.limits is not NEAR:
            self.measure(monotonic() - self._written_at)

    def measure(self, took: float) -> None:
        """Note that an answer took so many seconds."""
        if took < self._round_trip:
            self._round_trip = took
            self.limits = limits_over(took)
