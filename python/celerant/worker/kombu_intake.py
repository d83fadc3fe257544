"""Messages by kombu's own consumer, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu import Consumer

from celerant.running.policy import Settlement
from celerant.worker.delays import are_quorum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["KombuIntake"]


class KombuIntake:
    """kombu's consumer on one channel, of any transport."""

    #: The broker takes back what a lost connection had not settled.
    outlives = False
    in_volleys = False

    def __init__(
        self,
        channel: Any,
        queues: Sequence[Any],
        receive: Callable[[Any], None],
        accept: AbstractSet[str],
    ) -> None:
        """Declare `queues` (of kombu); `receive` is told of each message."""
        # RabbitMQ applies a later change to running consumers only where it counts
        # for the whole channel, which quorum queues refuse.
        self._is_fixed = are_quorum(queues)
        self._held = -1
        self._is_cancelled = False
        self._channel = channel
        self._consumer = Consumer(
            channel,
            queues,
            accept=accept,
            on_message=receive,
            # What kombu cannot even decompress is refused like any broken message.
            on_decode_error=lambda message, _exc: receive(message),
            auto_declare=True,
        )

    def begin(self, hub: Any) -> None:  # noqa: ARG002 - kombu's transport has its own ways to it
        """Consume."""
        self._consumer.consume()

    def turn(self) -> None:
        """Do nothing: what comes wakes the loop."""

    def hold(self, wanted: int) -> None:
        """Set the channel's prefetch count."""
        if wanted == self._held or (self._is_fixed and self._held >= 0):
            return
        if not self._is_cancelled:
            self._held = wanted
            self._consumer.qos(prefetch_count=wanted, apply_global=not self._is_fixed)

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Tell the broker at once."""
        getattr(message, settlement.value)()

    def give_back(self, messages: Sequence[Any]) -> None:
        """Requeue them one by one."""
        for message in messages:
            self.settle(message, Settlement.REQUEUE)

    def add(self, queue: Any) -> None:
        """Consume one more queue."""
        self._consumer.add_queue(queue)
        self._consumer.consume()

    def drop(self, name: str) -> None:
        """Consume a queue no more."""
        self._consumer.cancel_by_queue(name)

    def cancel(self) -> None:
        """Cancel the consumer."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._consumer.cancel()

    def has_ended(self) -> bool:
        """Whether no reply is awaited any more.

        A BRPOP that Redis still holds would take what is given back, and kombu drops
        what it brings while a channel is closed: its second is to be waited out.
        """
        return self._is_cancelled and not getattr(self._channel, "_in_poll", None)

    def close(self) -> None:
        """Do nothing: the channel closes with its connection."""
