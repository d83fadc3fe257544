"""Deliveries of RabbitMQ, as many at a time as the socket has.

The connection stays py-amqp's: only whole deliveries to one channel are taken apart
here. Every other frame goes the way that it always goes.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError
from kombu.transport import pyamqp

from celerant._core import read_deliveries
from celerant.common.amqp_message import AmqpMessage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Deliveries", "expect", "suits"]

#: Bytes read at once.
_READ = 1 << 18
#: Parts of a frame; a delivery has more.
_FRAME_PARTS = 3


def suits(channel: Any) -> bool:
    """Whether a channel is kombu's own over py-amqp."""
    return (
        type(channel) is pyamqp.Channel
        and type(channel.connection) is pyamqp.Connection
    )


def expect(channel: Any, tag: str, receive: Callable[[Any], None]) -> None:
    """Name the callback of a consumer before ``basic.consume`` leaves.

    py-amqp does so after the broker's answer. A delivery that comes before that would
    be rejected, and come again behind others.

    Args:
        channel: Of kombu; only one that `suits` is changed.
        tag: The consumer's.
        receive: Is called with each message of py-amqp.
    """
    if suits(channel):
        channel.callbacks[tag] = receive


class Deliveries:
    """Reads what comes to a channel; for the thread that has its connection."""

    def __init__(
        self,
        channel: Any,
        receive: Callable[[AmqpMessage], None],
        stray: Callable[[int], None],
        *,
        longest: int = 0,
    ) -> None:
        """Read for `channel`, which `suits`.

        Args:
            channel: Of kombu, with consumers.
            receive: Is told of each message to one of them.
            stray: Is told the tags of messages to consumers that are no more.
            longest: The most bytes of a body whose message is read as a task's; 0 reads
                none.
        """
        self._channel = channel
        self._receive = receive
        self._stray = stray
        self._longest = longest
        #: What was read, and is to be given out.
        self._read: deque[tuple[Any, ...]] = deque()

    def read(self) -> None:
        """Give out all that has come, without waiting for more.

        Raises:
            Exception: py-amqp's own, if the connection or a channel is closed.
        """
        connection = self._channel.connection
        if connection is None or not connection.connected:
            msg = "the connection or its channel was closed"
            raise RecoverableConnectionError(msg)
        transport = connection.transport
        parts, is_over = [transport._read_buffer], False  # noqa: SLF001 - py-amqp has no other way in
        with suppress(TimeoutError), transport.having_timeout(0):
            while not is_over:
                part = transport._quick_recv(_READ)  # noqa: SLF001 - as above
                is_over = not part
                parts.append(part)
        buffer = b"".join(parts)
        items, used, frames = read_deliveries(
            buffer, self._channel.channel_id, self._longest
        )
        # First: what is given out may have py-amqp read.
        transport._read_buffer = buffer[used:]  # noqa: SLF001 - as above
        # By this it knows that the broker lives.
        connection.bytes_recv += frames
        self._read.extend(items)
        self.give_out()
        if is_over:
            msg = "RabbitMQ has closed the connection"
            raise OSError(msg)

    def give_out(self) -> None:
        """Give out what an error has left.

        Raises:
            Exception: As `read`.
        """
        read, connection = self._read, self._channel.connection
        while read:
            item = read.popleft()
            if len(item) == _FRAME_PARTS:
                connection.on_inbound_frame(item)
            elif item[0] in self._channel.callbacks:
                self._receive(AmqpMessage(*item))
            else:
                self._stray(item[1])
