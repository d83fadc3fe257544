"""That the broker has what was published on a channel of py-amqp.

Source: "Publisher confirms" of RabbitMQ's documentation.
"""

from __future__ import annotations

from typing import Any

from amqp.exceptions import MessageNacked

from celerant._core import monotonic

__all__ = ["Confirms"]

#: Seconds of silence that are allowed on a connection without a limit of its own.
_STALL = 60.0


class Confirms:
    """The broker's answers on one channel, for the thread that has its connection."""

    def __init__(self, channel: Any) -> None:
        """Have the broker confirm; nothing was published on `channel` before."""
        self._connection = channel.connection
        #: How many messages were published; the broker numbers them from 1 on.
        self._last = 0
        #: Those that it has not answered, in their order.
        self._open: dict[int, None] = {}
        self._is_refused = False
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)

    def expect(self, count: int) -> None:
        """Say how many messages are about to be published."""
        self._open.update(dict.fromkeys(range(self._last + 1, self._last + 1 + count)))
        self._last += count

    def wait(self) -> None:
        """Wait until the broker has answered all of them.

        Raises:
            MessageNacked: It refused one.
            TimeoutError: It said nothing for as long as the connection allows.
        """
        limit = self._connection.transport.sock.gettimeout() or _STALL
        end, count = monotonic() + limit, len(self._open)
        while self._open:
            # Heartbeats come too, and are no progress.
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
