"""Publishing results to the queues of the tasks' senders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from kombu import Connection, Producer

from celerant.common.per_process import PerProcess

__all__ = ["Replies"]

#: Connections for the worker's threads to share: publishing is quick.
_CONNECTIONS_MOST = 10
#: Celery's own retry policy for results.
_RETRY_POLICY = {
    "max_retries": 20,
    "interval_start": 0,
    "interval_step": 1,
    "interval_max": 1,
}


class Replies:
    """Publishes from any thread.

    Args:
        connect: Makes a kombu connection.
        is_persistent: Results survive a broker that restarts.
    """

    def __init__(
        self, connect: Callable[[], Connection], *, is_persistent: bool
    ) -> None:
        self._connect = connect
        self._delivery_mode = 2 if is_persistent else 1
        self._own = PerProcess(_Own)

    def publish(
        self,
        record: bytes,
        *,
        reply_to: str,
        correlation_id: str,
        content: tuple[str, str],
    ) -> None:
        """Publish one record; a queue that is gone silently takes none.

        Args:
            record: The body.
            reply_to: The queue.
            correlation_id: The task's id.
            content: Type and encoding of the record.
        """
        with self._open().acquire(block=True) as connection:
            Producer(connection, auto_declare=False).publish(
                record,
                exchange="",
                routing_key=reply_to,
                correlation_id=correlation_id,
                content_type=content[0],
                content_encoding=content[1],
                delivery_mode=self._delivery_mode,
                retry=True,
                retry_policy=_RETRY_POLICY,
            )

    def close(self) -> None:
        """Disconnect; publishing connects anew."""
        own = self._own.get()
        with own.lock:
            pool, own.pool = own.pool, None
        if pool is not None:
            pool.force_close_all()

    def _open(self) -> Any:
        own = self._own.get()
        with own.lock:
            if own.pool is None:
                own.pool = self._connect().Pool(limit=_CONNECTIONS_MOST)
            return own.pool


class _Own:
    """The connections of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pool: Any = None  # kombu types it in part
