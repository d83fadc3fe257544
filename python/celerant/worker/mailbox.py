"""A worker's end of Celery's remote control, over kombu's pidbox."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from kombu.utils import json

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.pidbox import Mailbox

    from celerant.worker.panel import Panel

__all__ = ["MailboxNode"]

logger = logging.getLogger("celerant.worker")


class MailboxNode:
    """Hears broadcasts for one worker; only the thread that consumes uses it."""

    def __init__(self, panel: Panel, mailbox: Mailbox) -> None:
        """Let `panel` answer; `listen` begins."""
        self._panel = panel
        self._mailbox = mailbox
        self._connection: Any = None
        self._channel: Any = None
        self._consumer: Any = None
        self._listen_again: Callable[[], None] | None = None
        #: Handles the messages that have come, one after the other.
        self._waiting: deque[Callable[[], None]] = deque()

    def listen(self, connection: Any, guard: Callable[[Any], None]) -> None:
        """Hear broadcasts on a new channel of a connection.

        Args:
            connection: kombu's.
            guard: Called with the channel, to make it refuse unreadable messages.
        """
        self._connection = connection
        self._listen_again = lambda: self.listen(connection, guard)
        mailbox = self._mailbox(connection)
        if connection.transport.driver_type == "amqp":
            # Exclusive queues would keep out a second worker of the same name.
            mailbox.get_queue = _unique(mailbox.get_queue)
        node = mailbox.Node(self._panel.hostname, handlers=_Handlers(self._panel))
        node.on_decode_error = _not_understood
        self._channel = node.channel = connection.channel()
        guard(node.channel)
        receive = self._receiver(node)
        if connection.transport.driver_type == "amqp":
            # A command may wait for the broker, and py-amqp gives out what comes
            # meanwhile. Handled then, a message would get the answer to the first.
            receive = partial(self._keep, receive)
        self._consumer = node.listen(callback=receive)

    def _keep(
        self, receive: Callable[[Any, Any], None], body: Any, message: Any
    ) -> None:
        self._waiting.append(partial(receive, body, message))

    def turn(self) -> None:
        """Handle the messages that have come.

        Raises:
            Exception: The connection is lost.
        """
        while self._waiting:
            self._waiting.popleft()()

    def mend(self) -> bool:
        """Listen again if the broker has closed the channel; return whether it had.

        A command may ask for its answer at an exchange that does not exist. RabbitMQ
        then closes the channel that the answer came from.
        """
        if self._listen_again is None or self._channel.connection:
            return False
        self._listen_again()
        return True

    def _receiver(self, node: Any) -> Callable[[Any, Any], None]:
        lost = tuple(
            error
            for error in self._connection.connection_errors
            if error is not KeyError
        )

        def receive(body: Any, message: Any) -> None:
            try:
                node.handle_message(body, message)
            except lost:
                raise
            except Exception as exc:  # noqa: BLE001 - no message may stop a worker
                _not_understood(message, exc)
                self.mend()

        return receive

    def close(self) -> None:
        """Stop hearing."""
        consumer, self._consumer = self._consumer, None
        self._listen_again = None
        if consumer is not None:
            with contextlib.suppress(Exception):
                consumer.cancel()


class _Handlers(dict[str, Any]):
    """A panel for pidbox: it finds a function for each command."""

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel

    def __missing__(self, command: str) -> Callable[..., Any]:
        def handle(_state: Any, **arguments: Any) -> Any:
            reply = self._panel.handle(command, arguments)
            # Replies go out as JSON, but the arguments of tasks may be of any type.
            return json.loads(json.dumps(reply, default=repr))

        return handle


def _not_understood(_message: Any, exc: Exception) -> None:
    logger.warning(
        "remote control message not understood (%s: %s)", type(exc).__name__, exc
    )


def _unique(get_queue: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda hostname: get_queue(f"{hostname}.{uuid.uuid4().hex[:8]}")
