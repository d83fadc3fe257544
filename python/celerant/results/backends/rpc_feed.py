"""The feed of new records from the reply queue, with its own connection.

The first send that needs the queue declares and consumes it. At the end, or when its
connection breaks, RabbitMQ deletes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from amqp.exceptions import NotFound

from celerant._core import monotonic
from celerant.common.abandoned import abandon
from celerant.common.amqp_deliveries import Deliveries, expect, suits
from celerant.common.limits import NO_LIMITS, Limits
from celerant.common.unopened import leave_unopened
from celerant.common.waker import Waker
from celerant.results.consuming.feed import CompleteFeed

if TYPE_CHECKING:
    from kombu import Connection

    from celerant.results.backends.inbox import Inbox

__all__ = ["RpcFeed"]

#: The most records of one `receive`, so that fast workers do not starve other work.
_BATCH = 2000
#: Messages that RabbitMQ sends without acknowledgement: several batches, so that it
#: never waits for us.
_PREFETCH = 4 * _BATCH
#: The consumer's tag, on a channel of its own.
_TAG = "results"
#: Milliseconds after which RabbitMQ deletes the queue if it never had a consumer.
_UNUSED_MS = 60_000
_SOCKET_TIMEOUT_S = 5.0


class RpcFeed(CompleteFeed):
    """Consumes one reply queue.

    Args:
        connect: Makes a kombu connection, not connected yet.
        queue: The queue's name.
        inbox: Keeps records without a waiter.
        normalize: Returns the tasks' ids and the records of a kombu message.
        on_loss: Called if a reconnect finds the queue, and so its messages, gone.
        limits: The limits of records.
    """

    is_open = False

    def __init__(  # noqa: PLR0913 - all that a reply queue needs
        self,
        connect: Callable[[], Connection],
        queue: str,
        inbox: Inbox,
        normalize: Callable[[Any], list[tuple[str, bytes]]],
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
        self._waker = Waker()
        self._connection: Any = None  # kombu types it in part
        self._channel: Any = None
        #: Reads many messages at a time; None if the connection does not allow that.
        self._deliveries: Deliveries | None = None
        self._found: list[tuple[str, bytes]] = []
        self._last_tag: int | None = None
        self._next_beat = 0.0
        self._was_open = False

    def open(self) -> None:
        """Connect, declare the queue and consume it, unless that is done."""
        if self.is_open:
            return
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        try:
            # One attempt without a pause, because the consumer makes the pauses.
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
        self._deliveries = None
        if suits(channel):
            self._deliveries = Deliveries(channel, self._on_delivery, _pass_by)
        self._last_tag = None
        expect(channel, _TAG, self._on_message)
        channel.basic_consume(self._queue, _TAG, callback=self._on_message)
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
        # The broker may not have noticed yet that the old connection is lost. Then it
        # keeps the queue, and delivers the messages that were not acknowledged.
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
        self._on_delivery(self._channel.message_to_python(raw))

    def _on_delivery(self, message: Any) -> None:
        self._last_tag = message.delivery_tag
        self._found += self._normalize(message)

    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Wait for new records and return them; none come without a connection."""
        if not self.is_open:
            if not self._found:
                self._waker.wait(None, timeout)
            return self._taken()
        self._drain()
        if not self._found:
            self._beat()
            self._wait(timeout)
            self._drain()
        if self._last_tag is not None:
            # If an acknowledgement is lost, a record comes again and changes no member.
            self._channel.basic_ack(self._last_tag, multiple=True)
            self._last_tag = None
        return self._taken()

    def _taken(self) -> list[tuple[str, bytes]]:
        found, self._found = self._found, []
        for task_id, record in found:
            self._inbox.note(task_id, record)
        return found

    def _drain(self) -> None:
        if self._deliveries is not None:
            self._deliveries.read()
            return
        while len(self._found) < _BATCH:
            try:
                self._connection.drain_events(timeout=0)
            except TimeoutError as exc:
                if exc.errno is not None:
                    raise  # the system's own error: the broker is gone
                return

    def _wait(self, timeout: float | None) -> None:
        interval = self._beat_interval()
        if interval:
            timeout = interval if timeout is None else min(timeout, interval)
        self._waker.wait(self._connection.connection.sock, timeout)

    def _beat(self) -> None:
        interval = self._beat_interval()
        if interval and monotonic() >= self._next_beat:
            self._connection.heartbeat_check()
            self._next_beat = monotonic() + interval

    def _beat_interval(self) -> float:
        """Return the seconds between two checks for a silent broker."""
        heartbeat: float = self._connection.connection.heartbeat or 0.0
        return heartbeat / 4

    def keep(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep records in the inbox until they are asked for."""
        for task_id, record in records:
            self._inbox.keep(task_id, record)

    def wake(self) -> None:
        """Make `receive` return."""
        self._waker.wake()

    def reset(self) -> None:
        """Drop the connection; records that have come can still be received."""
        self.is_open, self._channel, self._deliveries = False, None, None
        if self._connection is not None:
            with contextlib.suppress(Exception):
                # Closed without a goodbye, because a silent broker would hold us up.
                self._connection.collect(socket_timeout=_SOCKET_TIMEOUT_S)

    def close(self) -> None:
        """Disconnect, which deletes the queue."""
        if self.is_open:
            with contextlib.suppress(Exception):
                # Closed with a goodbye, or RabbitMQ would log that we died.
                self._connection.connection.sock.settimeout(_SOCKET_TIMEOUT_S)
                self._connection.close()
        self.reset()
        self._connection = None
        self._waker.close()

    def after_fork(self) -> None:
        """In a forked child, drop the parent's connection without closing it."""
        abandon((self._connection, self._channel))
        self._connection = self._channel = self._deliveries = None
        self.is_open = False
        self._waker.after_fork()


def _pass_by(_tag: int) -> None:
    """Do nothing: the queue's only consumer ends with its channel."""
