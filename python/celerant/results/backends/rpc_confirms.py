"""Wait until the broker confirms messages published on a channel of py-amqp.

Source: "Publisher confirms" of RabbitMQ's documentation.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked

from celerant._core import monotonic

__all__ = ["Confirms"]

#: Seconds of silence that are allowed if the connection has no limit.
_STALL = 60.0


class Confirms:
    """The broker's confirms on one channel, for the thread that uses the connection."""

    def __init__(self, channel: Any) -> None:
        """Turn on confirms on `channel`, which has published no message before."""
        self._connection = channel.connection
        #: How many messages were published. The broker numbers them from 1 on.
        self._last = 0
        #: The numbers of messages that are not confirmed, in order.
        self._open: dict[int, None] = {}
        self._is_refused = False
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)

    def expect(self, count: int) -> None:
        """Note that `count` messages are about to be published."""
        self._open.update(dict.fromkeys(range(self._last + 1, self._last + 1 + count)))
        self._last += count

    def wait(self) -> None:
        """Wait until the broker has confirmed or refused all messages.

        Raises:
            MessageNacked: The broker refused a message.
            TimeoutError: The broker was silent for longer than the connection allows.
        """
        limit = self._connection.transport.sock.gettimeout() or _STALL
        end, count = monotonic() + limit, len(self._open)
        while self._open:
            # Heartbeats end a drain too, and do not count as progress.
            self._connection.drain_events(timeout=max(end - monotonic(), 0.001))
            if len(self._open) < count:
                end, count = monotonic() + limit, len(self._open)
        is_refused, self._is_refused = self._is_refused, False
        if is_refused:
            msg = "the broker refused results (basic.nack): is a reply queue full?"
            raise MessageNacked(msg)

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        if not multiple:
            self._open.pop(tag, None)
            return
        while self._open:
            first = next(iter(self._open))
            if first > tag:
                break
            del self._open[first]

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - as above
        self._is_refused = True
        self._on_ack(tag, multiple)
