"""kombu's in-process transport: ready messages straight into its queues.

kombu's `publish` makes the same message in 10 us; here it is a copy of its layout's
dicts. A queue that is no plain one goes the generic way: gevent has its own.
"""

from __future__ import annotations

import secrets
from queue import Queue
from typing import Any

from kombu import Producer
from kombu.transport.memory import Channel

from celerant._core import Chunk, Fate, Message
from celerant.dispatch.envelope import Blueprint
from celerant.dispatch.wires.base import Broken
from celerant.dispatch.wires.generic import GenericLayout, GenericWire

__all__ = ["MemoryWire", "carries"]


def carries(channel: Any) -> bool:
    """Whether a channel is kombu's own for memory, with its own encoding of bodies."""
    return type(channel) is Channel and channel.body_encoding == "base64"


class _MemoryLayout(GenericLayout):
    """A message without the member's own fields; the core copies it for each."""

    __slots__ = ("info", "is_correlated", "message", "whole_properties")

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self.message = {
            "body": None,
            "content-encoding": blueprint.body.content_encoding,
            "content-type": blueprint.body.content_type,
            "headers": None,
            "properties": None,
        }
        #: Whether a message's correlation id is the task's id.
        self.is_correlated = "correlation_id" not in self.publish
        self.whole_properties = {
            "delivery_mode": blueprint.delivery_mode,
            **blueprint.properties,
            "priority": blueprint.priority or Channel.default_priority,
            "body_encoding": "base64",
            "delivery_info": None,
            "delivery_tag": None,
        }
        self.info = {
            "exchange": blueprint.exchange,
            "routing_key": blueprint.routing_key,
        }


class MemoryWire(GenericWire):
    """Puts the messages of a chunk into each queue at once.

    Source: ``Producer.publish``, ``Channel.prepare_message`` and ``basic_publish`` of
    ``kombu.transport.virtual``, kombu 5.7.0.
    """

    layout = _MemoryLayout

    def __init__(self, producer: Producer) -> None:
        """Publish to the queues of `producer`'s channel."""
        super().__init__(producer)
        #: The chunk that is being put, until its fate is told.
        self._under_way: Chunk | None = None

    def send(self, chunk: Chunk) -> None:
        ready = chunk.ready(secrets.token_bytes(16))
        if not ready:
            return
        layouts: dict[GenericLayout, int] = {}
        for row in ready:
            layouts.setdefault(row.layout, row.index)
        queues = self._queues(layouts)
        if queues is None:
            super().send(chunk)
            return
        filled: dict[str, list[Any]] = {}
        for row in ready:
            for queue in queues[row.layout]:
                filled.setdefault(queue, []).extend(row.messages)
        self._under_way = chunk
        try:
            for queue, of_queue in filled.items():
                self._put(queue, of_queue)
            self.dispatch.ledger.mark(chunk, Fate.CONFIRMED)
            self._under_way = None
        except BaseException:
            # Ctrl-C, for example: nobody knows how far it came.
            self.abort()
            raise

    def abort(self) -> None:
        chunk, self._under_way = self._under_way, None
        if chunk is not None:
            self.dispatch.ledger.mark(chunk, Fate.UNKNOWN)

    def _queues(
        self, layouts: dict[GenericLayout, int]
    ) -> dict[GenericLayout, list[str]] | None:
        """Return the queues of the messages of each layout; None: kombu must say.

        Args:
            layouts: Each with the index of a member that has it.
        """
        while True:
            if self._producer.channel.closed:
                self._reopen()
            channel = self._producer.channel
            try:
                bound = self._bound_of(layouts)
            except (AttributeError, TypeError):
                # A channel that is being closed loses one part after the other.
                if not channel.closed:
                    raise
            else:
                if not channel.closed:
                    return bound

    def _reopen(self) -> None:
        """Open a channel again, if another thread has closed the app meanwhile."""
        connection = self._producer.connection
        connection.collect()
        connection.ensure_connection(max_retries=0, interval_start=0)
        self._producer.revive(connection)
        self._connected += 1

    def _publish(self, message: Message) -> None:
        if self._producer.channel.closed:
            self._reopen()
        channel = self._producer.channel
        super()._publish(message)
        if channel.closed:
            # kombu's closed channel has queues of its own, which nobody reads.
            text = "memory: the connection was closed by another thread"
            raise Broken(text, recoverable=True)

    def _bound_of(
        self, layouts: dict[GenericLayout, int]
    ) -> dict[GenericLayout, list[str]] | None:
        connected = 0
        while connected != self._connected:
            # Again if the connection was lost: its declarations are lost with it.
            connected = self._connected
            for layout, index in layouts.items():
                if layout.declared_on != connected:
                    self._tried(index, lambda: self._declare(layout))  # noqa: B023 - called at once
        bound: dict[GenericLayout, list[str]] = {}
        for layout in layouts:
            names = self._bound(layout)
            if names is None:
                return None
            bound[layout] = names
        return bound

    def _bound(self, layout: GenericLayout) -> list[str] | None:
        channel = self._producer.channel
        exchange = layout.publish["exchange"]
        names: list[str] = [layout.publish["routing_key"]]
        if exchange:
            if channel.typeof(exchange).type != "direct":
                return None
            # As kombu's own exchanges do.
            names = channel._lookup(exchange, names[0])  # noqa: SLF001 - kombu has no public one
        for name in names:
            if not hasattr(_store(name), "mutex"):
                return None
        return names

    def _put(self, name: str, messages: list[Any]) -> None:
        """Do the work of `Queue.put` for all of them.

        No queue of kombu's is limited.
        """
        while True:
            store = _store(name)
            with store.mutex:
                if Channel.queues.get(name) is not store:
                    # Deleted since: nobody would take from it.
                    continue
                store.queue.extend(messages)
                store.unfinished_tasks += len(messages)
                store.not_empty.notify(len(messages))
                return


def _store(name: str) -> Any:
    """Return a queue of the process, even if the channel is closed meanwhile.

    A closed channel has others, which nobody reads.
    """
    found = Channel.queues.get(name)
    return Channel.queues.setdefault(name, Queue()) if found is None else found
