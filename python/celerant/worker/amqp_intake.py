"""Messages out of RabbitMQ, as many at a time as its socket has.

kombu's consumer consumes, and its connection waits and keeps heartbeats. Here it is
read, and told of many messages in one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError

from celerant.common.amqp_deliveries import Deliveries, suits
from celerant.running.policy import Settlement
from celerant.worker.amqp_acks import Acks
from celerant.worker.kombu_intake import KombuIntake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from kombu.asynchronous import Hub

__all__ = ["AmqpIntake", "reads"]


def reads(channel: Any, queues: Sequence[Any]) -> bool:
    """Whether it is for a channel, and for queues (of kombu)."""
    # What is not acknowledged has numbers too, and would be taken for settled.
    return suits(channel) and not any(queue.no_ack for queue in queues)


class AmqpIntake(KombuIntake):
    """kombu's consumer on a channel of py-amqp; see `reads`."""

    in_volleys = True

    def __init__(
        self,
        channel: Any,
        queues: Sequence[Any],
        receive: Callable[[Any], None],
        accept: AbstractSet[str],
    ) -> None:
        """Declare `queues` (of kombu); `receive` is told of each message."""
        super().__init__(channel, queues, receive, accept)
        self._acks = Acks(channel.channel_id)
        self._deliveries = Deliveries(channel, receive, self._give_up)

    def begin(self, hub: Hub | None) -> None:
        """Consume, and read in place of kombu's transport."""
        super().begin(hub)
        if hub is not None:
            sock = self._channel.connection.sock
            hub.remove_reader(sock)
            hub.add_reader(sock, self._deliveries.read)

    def _give_up(self, tag: int) -> None:
        self._acks.settle(tag, Settlement.REQUEUE)

    def turn(self) -> None:
        """Tell the broker what is settled."""
        self._deliveries.give_out()
        frames = self._acks.take()
        if frames:
            connection = self._channel.connection
            if connection is None:
                msg = "the channel was closed"
                raise RecoverableConnectionError(msg)
            connection.transport.write(b"".join(frames))
            connection.bytes_sent += len(frames)

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Tell the broker at the next turn."""
        self._acks.settle(message.delivery_tag, settlement)

    def add(self, queue: Any) -> None:
        """Consume one more queue.

        Raises:
            ValueError: Its messages are not acknowledged.
        """
        if queue.no_ack:
            msg = f"queue {queue.name!r} needs a worker that is started with it"
            raise ValueError(msg)
        super().add(queue)
