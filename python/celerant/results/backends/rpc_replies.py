"""Publish results to the reply queues of the tasks' senders."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from kombu import Connection, Producer

from celerant.common.amqp_deliveries import suits
from celerant.common.per_process import PerProcess
from celerant.results.backends.base import RETRY_POLICY
from celerant.results.backends.rpc_bundles import bundled
from celerant.results.backends.rpc_confirms import Confirms
from celerant.results.backends.rpc_frames import Reply, published

__all__ = ["Replies"]

#: The most connections, which the worker's threads share, because publishing is quick.
_CONNECTIONS_MOST = 10


class Replies:
    """Publishes results; any thread may use it.

    Args:
        connect: Makes a kombu connection.
        is_persistent: Whether results survive a restart of the broker.
    """

    def __init__(
        self, connect: Callable[[], Connection], *, is_persistent: bool
    ) -> None:
        self._connect = connect
        self._delivery_mode = 2 if is_persistent else 1
        self._own = PerProcess(_Own)
        #: The confirms of each channel that has published results.
        self._confirms: WeakKeyDictionary[Any, Confirms] = WeakKeyDictionary()

    def publish(
        self,
        record: bytes,
        *,
        reply_to: str,
        correlation_id: str,
        content: tuple[str, str],
    ) -> None:
        """Publish one record; a record to a lost queue is dropped.

        Args:
            record: The body.
            reply_to: The reply queue.
            correlation_id: The task's id.
            content: Content type and encoding of the record.
        """
        self.publish_many([Reply(record, reply_to, correlation_id)], content)

    def _publish(
        self,
        producer: Any,
        record: bytes,
        reply_to: str,
        correlation_id: str,
        content: tuple[str, str],
    ) -> None:
        producer.publish(
            record,
            exchange="",
            routing_key=reply_to,
            correlation_id=correlation_id,
            content_type=content[0],
            content_encoding=content[1],
            delivery_mode=self._delivery_mode,
        )

    def publish_many(self, replies: list[Reply], content: tuple[str, str]) -> None:
        """Publish records, and wait until RabbitMQ has them.

        The worker then acknowledges the tasks, on another connection. Without the wait,
        a result could be lost with this connection. If a connection is lost, records
        without a confirm are published again. On kombu's own connection all records are
        one write; another transport takes them one by one, by its own rules.

        Args:
            replies: The records and their addresses.
            content: Content type and encoding of the records.
        """
        with self._connected() as connection:
            producer = Producer(connection, auto_declare=False)
            write = connection.ensure(producer, self._write, **RETRY_POLICY)
            write(producer, replies, content)

    def _write(
        self, producer: Any, replies: list[Reply], content: tuple[str, str]
    ) -> None:
        channel = producer.channel
        if not suits(channel) or channel.connection.confirm_publish:
            for record, reply_to, correlation_id, _ in replies:
                self._publish(producer, record, reply_to, correlation_id, content)
            return
        messages = bundled(replies)
        connection = channel.connection
        confirms = self._confirms.get(channel)
        if confirms is None:
            confirms = self._confirms[channel] = Confirms(channel)
        frames = published(
            messages,
            channel_id=channel.channel_id,
            frame_max=connection.frame_max,
            content=content,
            delivery_mode=self._delivery_mode,
        )
        confirms.expect(len(messages))
        connection.transport.write(frames)
        connection.bytes_sent += len(messages)
        confirms.wait()

    def close(self) -> None:
        """Disconnect; the next publish connects again.

        If another thread is publishing, its publish ends first, and then disconnects.
        """
        own = self._own.get()
        with own.lock:
            shared, own.shared = own.shared, None
        if shared is not None and not shared.users:
            # No thread can begin to use it now.
            shared.pool.force_close_all()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """Lend a connection to the calling thread."""
        own = self._own.get()
        with own.lock:
            if own.shared is None:
                own.shared = _Shared(self._connect().Pool(limit=_CONNECTIONS_MOST))
            shared = own.shared
            shared.users += 1
        try:
            with shared.pool.acquire(block=True) as connection:
                yield connection
        finally:
            with own.lock:
                shared.users -= 1
                is_left = not shared.users and own.shared is not shared
            if is_left:
                shared.pool.force_close_all()


@dataclass
class _Shared:
    """Connections for threads to share."""

    pool: Any  # kombu types it in part
    #: How many threads have a connection or wait for one.
    users: int = 0


class _Own:
    """The connections of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: None until something is published, and after a close.
        self.shared: _Shared | None = None
