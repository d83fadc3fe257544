"""New records from the reply queue, on a connection of its own.

The queue is declared and consumed from the first send that needs it to the end; then,
or when its connection breaks, RabbitMQ deletes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from celerant._core import monotonic
from celerant.common.abandoned import abandon
from celerant.common.limits import NO_LIMITS, Limits
from celerant.common.unopened import leave_unopened
from celerant.results.backends.wake_pipe import WakePipe
from celerant.results.consuming.feed import Feed

if TYPE_CHECKING:
    from kombu import Connection

    from celerant.results.backends.inbox import Inbox

__all__ = ["RpcFeed"]

#: How many records are handed over at once, so that fast workers do not starve orders.
_BATCH = 2000
#: Messages that RabbitMQ sends before the first of them is acknowledged: several
#: batches, so that it never waits for us.
_PREFETCH = 4 * _BATCH
#: A queue that loses its process before its first consumer is deleted by itself.
_UNUSED_MS = 60_000
_SOCKET_TIMEOUT_S = 5.0


class RpcFeed(Feed):
    """Consumes one reply queue.

    Args:
        connect: Makes a kombu connection, not connected yet.
        queue: The queue's name.
        inbox: Takes records without a waiter.
        normalize: From a kombu message to a record.
        on_loss: Called when the queue, and its messages, were gone on a reconnect.
        limits: The limits of records that come.
    """

    is_complete = True
    is_open = False

    def __init__(  # noqa: PLR0913 - all that a reply queue needs
        self,
        connect: Callable[[], Connection],
        queue: str,
        inbox: Inbox,
        normalize: Callable[[Any], tuple[str, bytes]],
        on_loss: Callable[[], None],
        *,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._connect = connect
        self._queue = queue
        self._inbox = inbox
        self._normalize = normalize
        self._on_loss = on_loss
        self._limits = limits
        self._pipe = WakePipe()
        self._connection: Any = None  # kombu types it in part
        self._channel: Any = None
        self._found: list[tuple[str, bytes]] = []
        self._last_tag: int | None = None
        self._next_beat = 0.0
        self._was_open = False

    def open(self) -> None:
        """Connect, declare and consume, unless that is done."""
        if self.is_open:
            return
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        try:
            # One try, no pause of kombu's own: the consumer has its pauses.
            connection.ensure_connection(max_retries=0, interval_start=0)
        except Exception:
            connection.maybe_switch_next()
            raise
        if not self._was_open:
            self._declare()
        elif not self._is_still_there():
            self._declare()
            self._on_loss()
        channel = self._channel
        channel.basic_qos(0, _PREFETCH, a_global=False)
        channel.basic_consume(self._queue, callback=self._on_message)
        self._last_tag = None
        self.is_open = self._was_open = True

    def _declare(self) -> None:
        self._channel = self._new_channel()
        self._channel.queue_declare(
            self._queue,
            durable=True,
            auto_delete=True,
            arguments={"x-expires": _UNUSED_MS},
        )

    def _is_still_there(self) -> bool:
        # The broker may not have noticed yet that the old connection is gone: it
        # keeps the queue then, and gives us what the old one did not acknowledge.
        self._channel = self._new_channel()
        try:
            self._channel.queue_declare(self._queue, passive=True)
        except NotFound:
            return False
        return True

    def _new_channel(self) -> Any:
        channel = self._connection.channel()
        channel.auto_decode = False  # bodies stay bytes
        leave_unopened(channel, self._limits)
        return channel

    def _on_message(self, raw: Any) -> None:
        message = self._channel.message_to_python(raw)
        self._last_tag = message.delivery_tag
        self._found.append(self._normalize(message))

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return the records that came; without a connection none come."""
        if not self.is_open:
            if not self._found:
                self._pipe.wait(None, timeout)
            return self._taken()
        self._drain()
        if not self._found:
            self._beat()
            self._wait(timeout)
            self._drain()
        if self._last_tag is not None:
            # A record that comes twice, after a lost acknowledgement, arrives once.
            self._channel.basic_ack(self._last_tag, multiple=True)
            self._last_tag = None
        return self._taken()

    def _taken(self) -> list[tuple[str, bytes]]:
        found, self._found = self._found, []
        for task_id, record in found:
            self._inbox.note(task_id, record)
        return found

    def _drain(self) -> None:
        while len(self._found) < _BATCH:
            try:
                self._connection.drain_events(timeout=0)
            except TimeoutError as exc:
                if exc.errno is not None:
                    raise  # the system's own: the peer is gone
                return

    def _wait(self, timeout: float | None) -> None:
        interval = self._beat_interval()
        if interval:
            timeout = interval if timeout is None else min(timeout, interval)
        self._pipe.wait(self._connection.connection.sock, timeout)

    def _beat(self) -> None:
        interval = self._beat_interval()
        if interval and monotonic() >= self._next_beat:
            self._connection.heartbeat_check()
            self._next_beat = monotonic() + interval

    def _beat_interval(self) -> float:
        """Return the seconds between two looks for a broker that went silently."""
        heartbeat: float = self._connection.connection.heartbeat or 0.0
        return heartbeat / 4

    def keep(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep records in the inbox until they are asked for."""
        for task_id, record in records:
            self._inbox.keep(task_id, record)

    def subscribe(self, ids: Sequence[str]) -> bool:  # noqa: ARG002 - all of them come
        """Do nothing: every record comes."""
        return True

    def subscribe_prefix(self, prefix: str) -> bool:  # noqa: ARG002 - all of them come
        """Do nothing: every record comes."""
        return True

    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Do nothing: every record comes."""

    def unsubscribe_prefix(self, prefix: str) -> None:
        """Do nothing: every record comes."""

    def wake(self) -> None:
        """Make `receive` return."""
        self._pipe.wake()

    def reset(self) -> None:
        """Drop the connection; records that came before can still be received."""
        self.is_open, self._channel = False, None
        if self._connection is not None:
            with contextlib.suppress(Exception):
                # Without a farewell: a silent peer would hold us up.
                self._connection.collect(socket_timeout=_SOCKET_TIMEOUT_S)

    def close(self) -> None:
        """Disconnect, which deletes the queue."""
        if self.is_open:
            with contextlib.suppress(Exception):
                # With a farewell, or RabbitMQ would log that we died.
                self._connection.connection.sock.settimeout(_SOCKET_TIMEOUT_S)
                self._connection.close()
        self.reset()
        self._connection = None
        self._pipe.close()

    def after_fork(self) -> None:
        """Leave the parent's connection alone."""
        abandon((self._connection, self._channel))
        self._connection = self._channel = None
        self.is_open = False
        self._pipe.after_fork()
