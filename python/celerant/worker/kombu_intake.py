"""Messages from kombu's own consumer, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp.exceptions import RecoverableConnectionError
from kombu import Consumer

from celerant.common.amqp_deliveries import expect, suits
from celerant.running.policy import Settlement
from celerant.worker.delays import are_quorum

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.message import Reader

__all__ = ["KombuIntake"]


class _Expecting(Consumer):  # type: ignore[misc]  # kombu has no types
    """A consumer that is ready for deliveries before the broker has answered."""

    def _add_tag(self, queue: Any, consumer_tag: str | None = None) -> str:
        tag: str = super()._add_tag(queue, consumer_tag)
        expect(self.channel, tag, self._receive_callback)
        return tag


class KombuIntake:
    """Takes messages by kombu's consumer on one channel of any transport."""

    #: When a connection is lost, the broker takes back its unsettled messages.
    outlives = False
    in_volleys = False

    def __init__(
        self,
        channel: Any,
        queues: Sequence[Any],
        receive: Callable[[Any], None],
        reader: Reader,
    ) -> None:
        """Declare `queues` (kombu's); `receive` is called with each message."""
        # RabbitMQ applies a changed prefetch count to running consumers only if it is
        # the whole channel's, and quorum queues refuse such a count.
        self._is_fixed = are_quorum(queues)
        self._held = -1
        self._is_cancelled = False
        self._channel = channel
        self._is_of_py_amqp = suits(channel)
        self._consumer = _Expecting(
            channel,
            queues,
            accept=reader.accept,
            on_message=receive,
            # A message that kombu cannot decompress is refused like other broken ones.
            on_decode_error=lambda message, _exc: receive(message),
            auto_declare=True,
        )

    def begin(self, hub: Any) -> None:  # noqa: ARG002 - kombu's transport knows its hub
        """Subscribe to the queues."""
        self._consumer.consume()

    def turn(self) -> None:
        """See that the channel is there; kombu settles messages at once.

        Raises:
            RecoverableConnectionError: An answer to remote control has made the
                connection anew, without its consumers.
        """
        if self._is_of_py_amqp and self._channel.connection is None:
            msg = "the channel was closed"
            raise RecoverableConnectionError(msg)

    def hold(self, wanted: int) -> None:
        """Set the channel's prefetch count."""
        if wanted == self._held or (self._is_fixed and self._held >= 0):
            return
        if not self._is_cancelled:
            self._held = wanted
            self._consumer.qos(prefetch_count=wanted, apply_global=not self._is_fixed)

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Settle a message at once."""
        getattr(message, settlement.value)()

    def give_back(self, messages: Sequence[Any]) -> None:
        """Requeue messages one by one."""
        for message in messages:
            self.settle(message, Settlement.REQUEUE)

    def add(self, queue: Any) -> None:
        """Consume one more queue."""
        self._consumer.add_queue(queue)
        self._consumer.consume()

    def drop(self, name: str) -> None:
        """Stop consuming a queue."""
        self._consumer.cancel_by_queue(name)

    def cancel(self) -> None:
        """Cancel the consumer."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._consumer.cancel()

    def has_ended(self) -> bool:
        """Whether no more messages can come.

        Redis may still hold a BRPOP for up to a second. It would take the messages that
        are given back, and kombu would drop them while the channel closes.
        """
        return self._is_cancelled and not getattr(self._channel, "_in_poll", None)

    def close(self) -> None:
        """Do nothing: the channel closes with its connection."""
