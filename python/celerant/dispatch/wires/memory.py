"""kombu's in-process transport: ready messages straight into its queues.

kombu's `publish` makes the same message in 10 us; here it is a copy of what its form
says already. What is not a plain queue of this process goes the generic way.
"""

from __future__ import annotations

import secrets
from binascii import b2a_base64
from typing import Any

from kombu import Producer
from kombu.transport.memory import Channel

from celerant._core import Chunk, Roster
from celerant.dispatch.blueprints import Drawn
from celerant.dispatch.wires.generic import GenericWire, Shared

__all__ = ["MemoryWire", "carries"]


def carries(channel: Any) -> bool:
    """Whether a channel is kombu's own for memory, with its own encoding of bodies."""
    return type(channel) is Channel and channel.body_encoding == "base64"


class MemoryWire(GenericWire):
    """Puts the messages of a chunk into each queue at once.

    Source: ``Producer.publish``, ``Channel.prepare_message`` and ``basic_publish`` of
    ``kombu.transport.virtual``, kombu 5.7.0.
    """

    def __init__(self, producer: Producer) -> None:
        """Publish to the queues of `producer`'s channel."""
        super().__init__(producer)
        #: Delivery tags: what Celerant's ids are, drawn as they are needed.
        self._tags = Roster(secrets.token_bytes(16))

    def _form(self, drawn: Drawn) -> Shared:
        return _Ready(drawn)

    def send(self, chunk: Chunk) -> None:
        messages = chunk.loose()
        queues = self._queues(messages)
        if queues is None:
            super().send(chunk)
            return
        tags = self._draw(len(messages))
        filled: dict[str, list[Any]] = {}
        for message, tag in zip(messages, tags, strict=True):
            ready = message[0].fill(tag, *message[1:])
            for queue in queues[message[0]]:
                filled.setdefault(queue, []).append(ready)
        fate = "unknown"
        try:
            for queue, of_queue in filled.items():
                self._put(queue, of_queue)
            fate = "confirmed"
        finally:
            # Ctrl-C, for one: nobody knows how far it came.
            self.dispatch.ledger.mark(chunk, fate)

    def _queues(self, messages: list[Any]) -> dict[Shared, list[str]] | None:
        """Return where the messages of each form go; None: kombu must say."""
        channel = self._producer.channel
        queues: dict[Shared, list[str]] = {}
        for message in messages:
            form: Shared = message[0]
            if form in queues:
                continue
            self._tried(message[2], lambda: self._declare(form))  # noqa: B023 - called at once
            exchange = form.publish["exchange"]
            routing_key = form.publish["routing_key"]
            if not exchange:
                queues[form] = [routing_key]
            elif channel.typeof(exchange).type == "direct":
                # As its own exchanges do.
                queues[form] = channel._lookup(exchange, routing_key)  # noqa: SLF001 - kombu has no public one
            else:
                return None
        return queues

    def _draw(self, count: int) -> list[str]:
        start = len(self._tags)
        self._tags.resize(start + count)
        return self._tags.ids(start, start + count)

    def _put(self, queue: str, messages: list[Any]) -> None:
        store = self._producer.channel._queue_for(queue)  # noqa: SLF001 - kombu has no other way to it
        # What `Queue.put` does, for all of them: no queue of kombu's has an end.
        with store.mutex:
            store.queue.extend(messages)
            store.unfinished_tasks += len(messages)
            store.not_empty.notify(len(messages))


class _Ready(Shared):
    """What members share, as a message that lacks what is theirs."""

    __slots__ = ("_info", "_message", "_properties")

    def __init__(self, drawn: Drawn) -> None:
        super().__init__(drawn)
        blueprint = drawn.blueprint
        self._message = {
            "content-encoding": blueprint.body.content_encoding,
            "content-type": blueprint.body.content_type,
        }
        self._properties = {
            "delivery_mode": blueprint.delivery_mode,
            **blueprint.properties,
            "priority": blueprint.priority or Channel.default_priority,
            "body_encoding": "base64",
        }
        self._info = {
            "exchange": blueprint.exchange,
            "routing_key": blueprint.routing_key,
        }

    def fill(  # noqa: PLR0913, PLR0917 - one message's fields, in their order
        self,
        tag: str,
        task_id: str,
        _index: int,
        group_index: int,
        argsrepr: str,
        kwargsrepr: str,
        body: bytes,
    ) -> dict[str, Any]:
        """Return the message of a member."""
        properties = dict(self._properties)
        properties["correlation_id"] = self.publish.get("correlation_id", task_id)
        properties["delivery_info"] = dict(self._info)
        properties["delivery_tag"] = tag
        return {
            "body": b2a_base64(body, newline=False).decode(),
            **self._message,
            "headers": self.headers_of(task_id, group_index, argsrepr, kwargsrepr),
            "properties": properties,
        }
