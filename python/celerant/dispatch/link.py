"""A link: a connection, the wire over it, and what sending has made of templates."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable
from typing import Any

from kombu import Connection, Producer

from celerant._core import Form, Template
from celerant.dispatch.blueprints import Drawn
from celerant.dispatch.connections import Patience, connect, recoverable_errors
from celerant.dispatch.wires import memory
from celerant.dispatch.wires.base import Broken, Dispatch, Unavailable, Wire, broken
from celerant.dispatch.wires.generic import GenericWire

__all__ = ["Link"]

logger = logging.getLogger("celerant")

#: Templates kept by a link: more would be a leak where each task is its own kind.
_TEMPLATES_KEPT = 256


class Link:
    """A producer, the wire over its connection if there is one, and templates.

    Args:
        producer: Over a connection that is exclusively ours, or a caller's own.
        wire: What carries messages in the form of the transport; None: kombu does.
        loose: What carries the others; None: kombu does.
    """

    __slots__ = ("_connection", "_templates", "is_sound", "loose", "wire")

    def __init__(
        self,
        producer: Producer,
        wire: Wire | None = None,
        loose: GenericWire | None = None,
    ) -> None:
        self._connection = producer.connection
        self.wire = wire
        #: Whether the dispatch before has left it so that another can follow.
        self.is_sound = False
        #: For what the wire does not carry.
        self.loose = loose or GenericWire(producer)
        self._templates: dict[Hashable, tuple[Template, tuple[Any, ...]]] = {}

    @classmethod
    def over(cls, connection: Connection, patience: Patience) -> Link:
        """Connect, over the failover list, and return a link.

        Raises:
            Exception: kombu's, where no broker answered within the retry policy.
        """
        # It may have died while nobody used it: finding that out is not a try.
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
                    # kombu can connect, only the wire cannot.
                    why = exc
                is_doubtful = False
                continue
            producer = Producer(connection, auto_declare=False)
            if why is None:
                return cls(producer, wire, _loose(producer))
            # Where the broker refuses that as well, nothing has left.
            _ = connection.default_channel
            _say_once(connection, why)
            return cls(producer, None, GenericWire(producer, batches=False))

    def is_alive(self) -> bool:
        """Whether what was kept can be used again, as far as this side can see."""
        is_connected: bool = self._connection.connected
        return is_connected and (self.wire is None or self.wire.is_alive())

    def begin(self, dispatch: Dispatch) -> None:
        """Take up a dispatch."""
        self.loose.begin(dispatch)
        if self.wire is not None:
            self.wire.begin(dispatch)

    def end(self) -> None:
        """Forget the dispatch."""
        self.loose.end()
        if self.wire is not None:
            self.wire.end()

    def flush(self, pid: int) -> bool:
        """Wait for what is under way; whether that went well, in process `pid`."""
        if self.wire is None or os.getpid() != pid:
            return self.wire is None
        try:
            self.wire.flush()
        except Broken:
            return False
        return True

    def settle(self, pid: int) -> None:
        """Find out what became of what is under way, in process `pid`; see `Wire`."""
        if self.wire is None or os.getpid() != pid:
            return
        try:
            self.wire.settle()
        except Exception as exc:
            logger.debug("what was under way stays unknown: %r", exc, exc_info=True)

    def abort(self) -> None:
        """Leave at once, for good: what is under way is unknown."""
        self.loose.abort()
        if self.wire is not None:
            self.wire.abort()
            self.wire.close()

    def close(self) -> None:
        """Give back what the wire holds."""
        if self.wire is not None:
            self.wire.close()

    def leave(self) -> None:
        """Give back what the wire holds of a connection that others go on with."""
        if self.wire is not None:
            self.wire.leave()

    def wired_form(self, drawn: Drawn) -> Form | None:
        """Declare and render for the wire; None where that is not its message."""
        if self.wire is None:
            return None
        with broken(self._connection):
            return self.wire.render(drawn)

    def template(self, key: Hashable) -> Template | None:
        """Return the template of `key`, if it is kept; its queues are declared then."""
        found = self._templates.get(key)
        if found is None:
            return None
        template, entities = found
        if self.wire is not None and entities:
            with broken(self._connection):
                self.wire.declare(entities)
        return template

    def keep(
        self, key: Hashable, template: Template, entities: tuple[Any, ...]
    ) -> None:
        """Keep a template for the next dispatch.

        Args:
            key: All that it depends on.
            template: One that holds for any member and at any time.
            entities: What the wire must have declared before it is used.
        """
        if len(self._templates) >= _TEMPLATES_KEPT:
            self._templates.clear()
        self._templates[key] = template, entities


def _wire(connection: Connection, patience: Patience) -> Wire | None:
    driver = connection.transport.driver_type
    # Imported where it is needed: redis-py and py-amqp are extras.
    if driver == "redis":
        from celerant.dispatch.wires import redis  # noqa: PLC0415

        if redis.carries(connection.default_channel):
            return redis.RedisWire(connection)
    elif driver == "amqp":
        from celerant.dispatch.wires import amqp  # noqa: PLC0415

        if amqp.carries(connection):
            return amqp.AmqpWire(connection, patience)
    return None


#: What was said of which broker.
_said: set[tuple[str, str]] = set()


def _say_once(connection: Connection, why: BaseException) -> None:
    """Log that messages go one by one."""
    told = str(connection.as_uri()), str(why)
    if told not in _said:
        _said.add(told)
        logger.warning(
            "messages to %s go one by one through kombu, which is slower: %s", *told
        )


def _loose(producer: Producer) -> GenericWire | None:
    is_memory = producer.connection.transport.driver_type == "memory"
    if is_memory and memory.carries(producer.channel):
        return memory.MemoryWire(producer)
    return None
