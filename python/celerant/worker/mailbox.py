"""A worker's end of Celery's remote control, over kombu's pidbox."""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any

from kombu.pidbox import Mailbox
from kombu.utils import json

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.panel import Panel

__all__ = ["MailboxNode", "make_mailbox"]

logger = logging.getLogger("celerant.worker")


def make_mailbox(conf: Any) -> Mailbox:
    """Return the mailbox that Celery's own workers and clients use."""
    return Mailbox(
        conf.control_exchange or "celery",
        type="fanout",
        accept=conf.accept_content,
        serializer=conf.task_serializer,
        queue_ttl=conf.control_queue_ttl or 300.0,
        reply_queue_ttl=conf.control_queue_ttl or 300.0,
        queue_expires=conf.control_queue_expires or 10.0,
        reply_queue_expires=conf.control_queue_expires or 10.0,
    )


class MailboxNode:
    """Hears the broadcasts for one worker; belongs to the thread that consumes."""

    def __init__(self, panel: Panel, mailbox: Mailbox) -> None:
        """Answer by `panel`; `listen` begins."""
        self._panel = panel
        self._mailbox = mailbox
        self._connection: Any = None
        self._consumer: Any = None

    def listen(self, connection: Any) -> None:
        """Consume from a connection, on a channel of its own."""
        self._connection = connection
        mailbox = self._mailbox(connection)
        if connection.transport.driver_type == "amqp":
            # Exclusive queues: workers of one name would keep each other out.
            mailbox.get_queue = _unique(mailbox.get_queue)
        node = mailbox.Node(self._panel.hostname, handlers=_Handlers(self._panel))
        node.channel = connection.channel()
        self._consumer = node.listen(callback=self._receiver(node))

    def _receiver(self, node: Any) -> Callable[[Any, Any], None]:
        def receive(body: Any, message: Any) -> None:
            try:
                node.handle_message(body, message)
            except self._connection.connection_errors:
                raise
            except Exception as exc:  # noqa: BLE001 - no message may stop a worker
                logger.warning(
                    "remote control message not understood (%s: %s)",
                    type(exc).__name__,
                    exc,
                )
                if not node.channel.connection:
                    self.listen(self._connection)

        return receive

    def close(self) -> None:
        """Hear no more."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                consumer.cancel()


class _Handlers(dict[str, Any]):
    """A panel as pidbox wants it: a function for each command, with a state first."""

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel

    def __missing__(self, command: str) -> Callable[..., Any]:
        def handle(_state: Any, **arguments: Any) -> Any:
            reply = self._panel.handle(command, arguments)
            # Arguments of tasks came by any serializer; replies go out as JSON.
            return json.loads(json.dumps(reply, default=repr))

        return handle


def _unique(get_queue: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda hostname: get_queue(f"{hostname}.{uuid.uuid4().hex[:8]}")
