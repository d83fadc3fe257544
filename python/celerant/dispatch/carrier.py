"""A carrier: a connection, the wires over it, and the templates made for it."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import Any

from kombu import Connection, Producer

from celerant._core import Chunk, Layout, Template
from celerant.dispatch.connections import Patience, connect, recoverable_errors
from celerant.dispatch.envelope import Blueprint
from celerant.dispatch.wires import memory
from celerant.dispatch.wires.base import Dispatch, Unavailable, Wire, broken
from celerant.dispatch.wires.generic import GenericWire
from celerant.dispatch.wires.memory import MemoryWire

__all__ = ["Carrier"]

logger = logging.getLogger("celerant")

#: Templates kept by a carrier: more would be a leak if each task had its own options.
_TEMPLATES_KEPT = 256


class Carrier:
    """A producer, the wires over its connection, and templates.

    Args:
        producer: Over a connection that is exclusively ours, or a caller's own.
        wires: The first that renders a message carries it; the last takes all.
    """

    __slots__ = ("_connection", "_templates", "is_sound", "wires")

    def __init__(self, producer: Producer, *wires: Wire) -> None:
        self._connection = producer.connection
        self.wires = wires or (GenericWire(producer),)
        #: Whether another dispatch can follow the last one.
        self.is_sound = False
        self._templates: dict[Hashable, tuple[Template, tuple[Any, ...]]] = {}

    @classmethod
    def over(cls, connection: Connection, patience: Patience) -> Carrier:
        """Connect, over the failover list, and return a carrier.

        Raises:
            Exception: kombu's, if no broker answered within the retry policy.
        """
        # It may have died while nobody used it; finding that out does not count as a
        # try.
        is_doubtful = connection.connected
        why: BaseException | None = None
        while True:
            connect(connection, patience)
            wire = None
            try:
                if why is None:
                    wire = _wire(connection, patience)
            except Unavailable as exc:
                # Opening it may have cost the connection.
                why = exc
                continue
            except recoverable_errors(connection) as exc:
                connection.collect()
                try:
                    if not is_doubtful:
                        patience.pause(exc)
                except BaseException as last:
                    if last is not exc:
                        raise
                    # kombu can connect; only the wire cannot.
                    why = exc
                is_doubtful = False
                continue
            producer = Producer(connection, auto_declare=False)
            if why is None:
                return cls(producer, *_wires(producer, wire))
            # If the broker refuses that as well, nothing has left.
            _ = connection.default_channel
            _say_once(connection, why)
            return cls(producer, GenericWire(producer, batches=False))

    def is_alive(self) -> bool:
        """Whether the connection can be used again, as far as this side can see."""
        is_connected: bool = self._connection.connected
        return is_connected and self.wires[0].is_alive()

    def begin(self, dispatch: Dispatch) -> None:
        """Take up a dispatch."""
        for wire in self.wires:
            wire.begin(dispatch)

    def send(self, chunk: Chunk) -> None:
        """Send a chunk; see `Wire.send`."""
        if not (chunk.has_wired and chunk.has_generic):
            for wire in self.wires:
                wire.send(chunk)
            return
        # Each wire tells the fate of all that it is given.
        for wire, part in zip(self.wires, chunk.parted(), strict=True):
            wire.send(part)

    def end(self) -> None:
        """Forget the dispatch."""
        for wire in self.wires:
            wire.end()

    def flush(self) -> None:
        """Wait until the fate of everything sent is known; see `Wire.flush`."""
        # kombu's own wire leaves nothing open.
        self.wires[0].flush()

    def settle(self) -> None:
        """Find out the fate of messages under way; see `Wire.settle`."""
        try:
            self.wires[0].settle()
        except Exception as exc:
            logger.debug("what was under way stays unknown: %r", exc, exc_info=True)

    def abort(self) -> None:
        """Leave at once, for good: messages under way are unknown."""
        for wire in reversed(self.wires):
            wire.abort()
            wire.close()

    def close(self) -> None:
        """Give back all that the wires hold."""
        for wire in self.wires:
            wire.close()

    def leave(self) -> None:
        """Give back all that the wires hold, of a connection that others go on with."""
        for wire in self.wires:
            wire.leave()

    def render(self, blueprint: Blueprint) -> Layout:
        """Declare and render for the first wire that can carry it."""
        with broken(self._connection):
            layouts = (wire.render(blueprint) for wire in self.wires)
            return next(layout for layout in layouts if layout is not None)

    def header(self, value: Any) -> bytes:
        """Encode a header's value for a message of the first wire."""
        return self.wires[0].header(value)

    def template(self, key: Hashable) -> Template | None:
        """Return the template of `key`, if it is kept; its queues are declared then."""
        found = self._templates.get(key)
        if found is None:
            return None
        template, entities = found
        if entities:
            with broken(self._connection):
                self.wires[0].declare(entities)
        return template

    def keep(
        self, key: Hashable, template: Template, entities: tuple[Any, ...]
    ) -> None:
        """Keep a template for the next dispatch.

        Args:
            key: All values that it depends on.
            template: One that holds for any member and at any time.
            entities: Queues and exchanges that the first wire must declare before.
        """
        if len(self._templates) >= _TEMPLATES_KEPT:
            self._templates.clear()
        self._templates[key] = template, entities


def _wires(producer: Producer, wire: Wire | None) -> tuple[Wire, ...]:
    if wire is not None:
        return wire, GenericWire(producer)
    is_memory = producer.connection.transport.driver_type == "memory"
    if is_memory and memory.carries(producer.channel):
        return (MemoryWire(producer),)
    return (GenericWire(producer),)


def _wire(connection: Connection, patience: Patience) -> Wire | None:
    driver = connection.transport.driver_type
    # Imported on use: redis-py and py-amqp are extras.
    if driver == "redis":
        from celerant.dispatch.wires import redis  # noqa: PLC0415

        if redis.carries(connection.default_channel):
            return redis.RedisWire(connection)
    elif driver == "amqp":
        from celerant.dispatch.wires import amqp  # noqa: PLC0415

        if amqp.carries(connection):
            return amqp.AmqpWire(connection, patience)
    return None


#: The brokers, and why their messages go one by one, that were logged.
_said: set[tuple[str, str]] = set()


def _say_once(connection: Connection, why: BaseException) -> None:
    """Log that messages go one by one."""
    told = str(connection.as_uri()), str(why)
    if told not in _said:
        _said.add(told)
        logger.warning(
            "messages to %s go one by one through kombu, which is slower: %s", *told
        )
