"""Results as messages to the sender's own queue: RabbitMQ alone, no store.

Source: ``celery.backends.rpc.RPCBackend`` of celery 5.7.0: a worker publishes the
record to the default exchange, routed by the request's `reply_to`, with the task's id
as `correlation_id`.
"""

from __future__ import annotations

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
from celerant.results.backends.rpc_feed import RpcFeed
from celerant.results.backends.rpc_frames import Reply
from celerant.results.backends.rpc_replies import Replies

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.tracking.members import Members

__all__ = ["RpcBackend"]


class RpcBackend(Backend):
    """Results in the process that sent the tasks, which consumes one reply queue.

    A message comes once and to this process alone: no other can attach, and a result
    made by its id alone sees what this process was sent. Records that arrive while the
    process is not connected are lost; waiters are told, once for each loss. A result
    that its worker could not publish, or that was published to a broker that died
    before it could deliver, is not known to be lost: wait with a `timeout`. Results
    that nobody looks at stay in memory for ``result_expires``: send tasks with
    ``ignore_result`` if no result is wanted.

    Args:
        url: Only named in messages.
        connect: Makes a kombu connection to the broker.
        persistent: ``result_persistent``: published results survive the broker.
        retry_policy: How long a sender waits for the reply queue.
        settings: As `Backend`; results are not compressed, as Celery's are not.

    Raises:
        SettingError: The broker is not reached by AMQP.
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
        # Two processes that consume one queue would share it.
        self._replied = PerProcess(partial(_Replied, self.expires))

    @property
    def queue(self) -> str:
        """The reply queue of this process."""
        return self._replied.get().queue

    @property
    def _inbox(self) -> Inbox:
        return self._replied.get().inbox

    def reply_to(self, *, is_needed: bool) -> str:
        """Return the reply queue's name; it is consumed from now on if it is needed."""
        if is_needed:
            self.consumer.open()
        return self.queue

    def open_feed(self) -> RpcFeed:
        """Return a feed from the reply queue."""
        # The thread that holds the feed must keep neither this nor its app alive.
        return RpcFeed(
            weakly(self._connect),
            self.queue,
            self._inbox,
            weakly(self._normalize),
            weakly(self._on_loss),
            limits=self.codec.limits,
        )

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Take the records of `ids` that came before a wait."""
        take = self._inbox.take
        return [take(task_id) for task_id in ids]

    def read(self, task_id: str) -> bytes | None:
        """Return one record, if it came."""
        return self._inbox.read(task_id)

    def forget(self, ids: Sequence[str]) -> None:
        """Forget the records of `ids` that came."""
        self._inbox.drop(ids)

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,  # noqa: ARG002 - the interface's
        *,
        request: Request | None = None,
    ) -> None:
        """Publish a record to the task's sender; nothing without a `reply_to`."""
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
        """Publish records to who sent the tasks; none without a `reply_to`."""
        replies = [
            Reply(payload, request.reply_to, request.correlation_id or task_id)
            for (task_id, payload, _), request in zip(records, requests, strict=True)
            if request.reply_to
        ]
        if replies:
            self._replies.publish_many(replies, self.codec.content)

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:  # noqa: ARG002 - the interface's
        """Refuse: a record goes to the task's sender, and this does not name it."""
        msg = f"results on {self.as_uri()} are sent, not stored; use `store_result`"
        raise CelerantError(msg)

    def check(self, members: Members) -> None:
        """Refuse members that were sent before this process was forked."""
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
            # A sender that opens the reply queue waits for no result yet.
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

    def _normalize(self, message: Any) -> tuple[str, bytes]:
        """Return the task's id and the record, written in the way we read them."""
        task_id = message.properties.get("correlation_id")
        try:
            body = body_of(message, self.codec.limits, self.codec.accepted)
            record = body.encode() if isinstance(body, str) else bytes(body)
            if task_id and message.content_type == self.codec.content[0]:
                return task_id, record
            meta = loads(
                record,
                message.content_type,
                message.content_encoding,
                accept=self.codec.accepted,
            )
            return task_id or str(meta["task_id"]), self.codec.pack(meta)
        except Exception as exc:  # noqa: BLE001 - any serializer's own errors
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
        """Return Celery's name of it."""
        return "rpc://"


class _Replied:
    """The records that come to one process."""

    def __init__(self, expires: int) -> None:
        self.queue = f"celerant-reply-{uuid.uuid4().hex}"
        self.inbox = Inbox(expires)
