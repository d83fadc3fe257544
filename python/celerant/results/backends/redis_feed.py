"""The feed of new records from Redis, by pub/sub.

redis-py's `PubSub` silently subscribes again after a lost connection. But records that
were published meanwhile are lost, and the consumer must know that. So this module
writes the commands itself, on a connection of redis-py's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from celerant.common.waker import Waker
from celerant.results.consuming.feed import Feed, FeedLostError

__all__ = ["RedisFeed"]

#: Channels of one command; one with 50,000 would hold up the server's other clients.
_CHANNELS = 1000
#: The most records of one `receive`, so that a fast writer does not starve sweeps.
_BATCH = 2000
_MESSAGES = {b"message": 2, b"pmessage": 3}


class RedisFeed(Feed):
    """A pub/sub connection, which is made when it is first needed.

    Args:
        connect: Makes a connection of redis-py's, not connected yet.
        key_prefix: The text before the task id in a channel's name.
    """

    def __init__(self, connect: Callable[[], Any], key_prefix: str) -> None:
        self._connect = connect
        self._prefix = key_prefix
        self._cut = len(key_prefix.encode())
        self._connection: Any = None  # redis-py types it in part
        self._early: list[tuple[str, bytes]] = []
        self._waker = Waker()

    def subscribe(self, ids: Sequence[str]) -> bool:
        """Subscribe to a channel for each id."""
        return all(self._ask("SUBSCRIBE", channels) for channels in self._channels(ids))

    def subscribe_prefix(self, prefix: str) -> bool:
        """Subscribe to one pattern."""
        return self._ask("PSUBSCRIBE", [self._pattern(prefix)])

    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Unsubscribe from the channels of ids."""
        if self._connection is not None:
            for channels in self._channels(ids):
                self._ask("UNSUBSCRIBE", channels)

    def unsubscribe_prefix(self, prefix: str) -> None:
        """Unsubscribe from a pattern."""
        if self._connection is not None:
            self._ask("PUNSUBSCRIBE", [self._pattern(prefix)])

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return the published records."""
        found, self._early = self._early, []
        with self._broken_is_lost():
            if not found and not self._is_readable():
                # redis-py has no public name for its socket.
                sock = getattr(self._connection, "_sock", None)
                self._waker.wait(sock, timeout)
            while len(found) < _BATCH and self._is_readable():
                self._read(found)
        return found

    def wake(self) -> None:
        """Write to the pipe that `receive` waits on too."""
        self._waker.wake()

    def reset(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        self._early = []
        if connection is not None:
            connection.disconnect()

    def close(self) -> None:
        """Disconnect and close the pipe."""
        self.reset()
        self._waker.close()

    def after_fork(self) -> None:
        """Close the forked child's copies of the descriptors."""
        self.reset()
        self._waker.after_fork()

    def _ask(self, command: str, names: Sequence[str]) -> bool:
        """Send a command, and read until Redis has confirmed each name."""
        if self._connection is None:
            # Outside of the block below: a failed connection attempt is no lost feed.
            connection = self._connect()
            connection.connect()
            self._connection = connection
        with self._broken_is_lost():
            self._connection.send_command(command, *names)
            missing = len(names)
            kind = command.lower().encode()
            while missing:
                try:
                    missing -= self._read(self._early) == kind
                except ResponseError:  # one for the whole command
                    return False
        return True

    def _read(self, found: list[tuple[str, bytes]]) -> bytes:
        connection = self._connection
        if connection is None:
            return b""
        response: Any = connection.read_response()
        kind: bytes = response[0]
        size = _MESSAGES.get(kind)
        if size is not None:
            channel: bytes = response[size - 1]
            task_id = channel[self._cut :].decode(errors="replace")
            found.append((task_id, response[size]))
        return kind

    def _is_readable(self) -> bool:
        # Unlike a poll of the socket, this sees bytes that are buffered already.
        return self._connection is not None and bool(self._connection.can_read(0))

    def _channels(self, ids: Sequence[str]) -> Iterator[list[str]]:
        for start in range(0, len(ids), _CHANNELS):
            yield [self._prefix + name for name in ids[start : start + _CHANNELS]]

    def _pattern(self, prefix: str) -> str:
        # The key prefix is the user's text, so special characters are escaped.
        literal = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in self._prefix)
        return f"{literal}{prefix}*"

    @contextlib.contextmanager
    def _broken_is_lost(self) -> Iterator[None]:
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError, OSError) as exc:
            self.reset()
            raise FeedLostError(str(exc)) from exc
