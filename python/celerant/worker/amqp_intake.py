"""Messages from RabbitMQ, as many at a time as its socket has.

kombu's consumer subscribes, and kombu's connection keeps the heartbeats. This module
reads the socket, and settles many messages in one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.amqp_deliveries import Deliveries, suits
from celerant.running.policy import Settlement
from celerant.worker.amqp_acks import Acks
from celerant.worker.kombu_intake import KombuIntake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kombu.asynchronous import Hub

    from celerant.worker.message import Reader

__all__ = ["AmqpIntake", "reads"]


def reads(channel: Any, queues: Sequence[Any]) -> bool:
    """Whether `AmqpIntake` can read these queues from this channel (both kombu's)."""
    # Messages without acknowledgement have delivery tags too. An ack of all messages up
    # to a tag would count them.
    return suits(channel) and not any(queue.no_ack for queue in queues)


class AmqpIntake(KombuIntake):
    """Takes messages from a channel of py-amqp; `reads` says whether it can."""

    in_volleys = True

    def __init__(
        self,
        channel: Any,
        queues: Sequence[Any],
        receive: Callable[[Any], None],
        reader: Reader,
    ) -> None:
        """Declare `queues` (kombu's); `receive` is called with each message."""
        super().__init__(channel, queues, receive, reader)
        self._acks = Acks(channel.channel_id)
        self._deliveries = Deliveries(
            channel, receive, self._give_up, longest=reader.longest
        )

    def begin(self, hub: Hub | None) -> None:
        """Subscribe, and read the socket in place of kombu's transport."""
        super().begin(hub)
        if hub is not None:
            sock = self._channel.connection.sock
            hub.remove_reader(sock)
            hub.add_reader(sock, self._deliveries.read)

    def _give_up(self, tag: int) -> None:
        self._acks.settle(tag, Settlement.REQUEUE)

    def turn(self) -> None:
        """Give out the messages that were read, and settle those that are due."""
        self._deliveries.give_out()
        super().turn()
        frames = self._acks.take()
        if frames:
            connection = self._channel.connection
            connection.transport.write(b"".join(frames))
            connection.bytes_sent += len(frames)

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Settle a message at the next turn."""
        self._acks.settle(message.delivery_tag, settlement)

    def add(self, queue: Any) -> None:
        """Consume one more queue.

        Raises:
            ValueError: The queue's messages are not acknowledged (``no_ack``).
        """
        if queue.no_ack:
            msg = f"queue {queue.name!r} needs a worker that is started with it"
            raise ValueError(msg)
        super().add(queue)
