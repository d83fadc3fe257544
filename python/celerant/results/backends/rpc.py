"""Results as messages to the sender's own queue, without a store; for RabbitMQ.

Source: ``celery.backends.rpc.RPCBackend`` of celery 5.7.0. A worker publishes the
record to the default exchange. The routing key is the request's `reply_to`, and the
`correlation_id` is the task's id. To a reply queue of Celerant, Celerant's workers
publish many records in one message (`rpc_bundles.py`).
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.serialization import loads

from celerant.common.per_process import PerProcess
from celerant.common.printable import line
from celerant.common.unopened import body_of
from celerant.common.weakly import weakly
from celerant.errors import CelerantError, ForkError, SettingError
from celerant.results.backends.base import Backend
from celerant.results.backends.inbox import Inbox
from celerant.results.backends.rpc_bundles import PREFIX, records_of
from celerant.results.backends.rpc_feed import RpcFeed
from celerant.results.backends.rpc_frames import BUNDLE, Reply
from celerant.results.backends.rpc_replies import Replies

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.tracking.members import Members

__all__ = ["RpcBackend"]

logger = logging.getLogger("celerant")


class RpcBackend(Backend):
    """Results in the process that sent the tasks; it consumes one reply queue.

    A message comes once, and only to this process. So no other process can attach, and
    a result made by its id has only records that this process got. Records that arrive
    while the process is not connected are lost, and waiters get an error, once for each
    loss. It is not known that a result is lost if its worker could not publish it, or
    if the broker died before it delivered it: wait with a `timeout`. Results that are
    not read stay in memory for ``result_expires``. If no result is wanted, send tasks
    with ``ignore_result``.

    Args:
        url: Used only in messages.
        connect: Makes a kombu connection to the broker.
        persistent: ``result_persistent``: whether results survive the broker's end.
        retry_policy: The retry policy of a sender that waits for the reply queue.
        settings: Those of `Backend`. As in Celery, results are not compressed.

    Raises:
        SettingError: The broker does not speak AMQP.
    """

    stores_many = True
    connection_errors = (AMQPError, OperationalError, OSError)

    def __init__(
        self,
        url: str,
        *,
        connect: Callable[[], Connection],
        persistent: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        settings["compression"] = None
        super().__init__(url, **settings)
        connection = connect()
        if connection.transport.driver_type != "amqp":
            msg = (
                f"result_backend {url!r} needs a broker that is reached by AMQP, and "
                f"{connection.as_uri()} is not; use redis:// or memory://"
            )
            raise SettingError(msg, name="result_backend")
        self._broker = connection.as_uri()
        self._connect = connect
        self.retry_policy = dict(retry_policy or {})
        self._replies = Replies(connect, is_persistent=bool(persistent))
        # One for each process: two that consumed one queue would share its messages.
        self._replied = PerProcess(partial(_Replied, self.expires))

    @property
    def queue(self) -> str:
        """The reply queue of this process."""
        return self._replied.get().queue

    @property
    def _inbox(self) -> Inbox:
        return self._replied.get().inbox

    def reply_to(self, *, is_needed: bool) -> str:
        """Return the reply queue's name; if `is_needed`, consume the queue first."""
        if is_needed:
            self.consumer.open()
        return self.queue

    def open_feed(self) -> RpcFeed:
        """Return a feed from the reply queue."""
        # The thread that holds the feed must not keep this backend or its app alive.
        return RpcFeed(
            weakly(self._connect),
            self.queue,
            self._inbox,
            weakly(self._normalize),
            weakly(self._on_loss),
            limits=self.codec.limits,
        )

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Take the records of `ids` that have come before a wait."""
        take = self._inbox.take
        return [take(task_id) for task_id in ids]

    def read(self, task_id: str) -> bytes | None:
        """Return one record, if it has come."""
        return self._inbox.read(task_id)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids` that have come."""
        self._inbox.drop(ids)

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,  # noqa: ARG002 - the interface's
        *,
        request: Request | None = None,
    ) -> None:
        """Publish a record to the task's sender, if the request has a `reply_to`."""
        if request is None or not request.reply_to:
            return
        self._replies.publish(
            payload,
            reply_to=request.reply_to,
            correlation_id=request.correlation_id or task_id,
            content=self.codec.content,
        )

    def store_many(
        self, records: Sequence[tuple[str, bytes, str]], requests: Sequence[Request]
    ) -> None:
        """Publish records to the tasks' senders, if the requests have a `reply_to`."""
        replies = [
            Reply(payload, request.reply_to, request.correlation_id or task_id)
            for (task_id, payload, _), request in zip(records, requests, strict=True)
            if request.reply_to
        ]
        if replies:
            self._replies.publish_many(replies, self.codec.content)

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:  # noqa: ARG002 - the interface's
        """Raise: the record must go to the task's sender, which is not known here."""
        msg = f"results on {self.as_uri()} are sent, not stored; use `store_result`"
        raise CelerantError(msg)

    def check(self, members: Members) -> None:
        """Raise ForkError if members were sent before this process was forked."""
        if members.pid != os.getpid():
            msg = (
                f"results on {self.as_uri()} come to process {members.pid}, which sent "
                "the tasks, and not to its forked child; use redis://, or send in the "
                "child"
            )
            raise ForkError(msg, created_in_pid=members.pid)

    def doubt(self, members: Members) -> CelerantError | None:
        """Return, once for each loss, why results of `members` may never come."""
        if members.losses == self.losses:
            return None
        members.losses = self.losses
        if not members.barrier.remaining:
            # A sender that opens the reply queue does not wait for results yet.
            return None
        return CelerantError(
            f"{members.barrier.remaining} results may be lost: the connection to "
            f"{self._broker} broke, and with it went the reply queue and what it held; "
            "it is there again: wait again, with a timeout, for what is still to come"
        )

    def close(self) -> None:
        """Stop the consumer and disconnect; the reply queue is deleted."""
        super().close()
        self._replies.close()

    def _on_loss(self) -> None:
        self.losses += 1

    def _normalize(self, message: Any) -> list[tuple[str, bytes]]:
        """Return tasks' ids and their records, encoded as this backend's are."""
        if message.properties.get("type") != BUNDLE:
            task_id = message.properties.get("correlation_id")
            return [self._record(task_id, message, partial(self._body, message))]
        found: list[tuple[str, bytes]] = []
        try:
            for task_id, record in records_of(bytes(message.body)):
                found.append(
                    self._record(task_id, message, partial(self._measured, record))
                )
        except ValueError as exc:
            logger.warning("results that came cannot be read: %s", exc)
        return found

    def _body(self, message: Any) -> bytes:
        body = body_of(message, self.codec.limits, self.codec.accepted)
        return body.encode() if isinstance(body, str) else bytes(body)

    def _measured(self, record: bytes) -> bytes:
        self.codec.limits.check_size(len(record))
        return record

    def _record(
        self, task_id: str | None, message: Any, read: Callable[[], bytes]
    ) -> tuple[str, bytes]:
        """Return a task's id and its record, or a failure that says what is wrong."""
        try:
            record = read()
            if task_id and message.content_type == self.codec.content[0]:
                return task_id, record
            meta = loads(
                record,
                message.content_type,
                message.content_encoding,
                accept=self.codec.accepted,
            )
            return task_id or str(meta["task_id"]), self.codec.pack(meta)
        except Exception as exc:  # noqa: BLE001 - a serializer may raise anything
            unread = {
                "status": "FAILURE",
                "result": {
                    "exc_type": type(exc).__name__,
                    "exc_message": [
                        f"the result that came cannot be read: {line(exc)}"
                    ],
                    "exc_module": type(exc).__module__,
                },
                "traceback": None,
            }
            return str(task_id), self.codec.pack(unread)

    def as_uri(self) -> str:
        """Return Celery's URL for it."""
        return "rpc://"


class _Replied:
    """The reply queue of one process, and the records that have come."""

    def __init__(self, expires: int) -> None:
        self.queue = f"{PREFIX}{uuid.uuid4().hex}"
        self.inbox = Inbox(expires)
