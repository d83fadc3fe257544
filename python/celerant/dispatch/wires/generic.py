"""Any kombu transport: encoded bodies through `kombu.Producer.publish`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kombu import exceptions

from celerant._core import Chunk, Fate, Layout, Message
from celerant.dispatch.connections import recoverable_errors
from celerant.dispatch.envelope import SLOTS, Blueprint
from celerant.dispatch.wires.base import Broken, Wire, declare

if TYPE_CHECKING:
    from kombu import Producer

__all__ = ["GenericLayout", "GenericWire"]

#: Transport operations per flush, if the transport has batches.
_BATCH = 500
#: The error of a batch that may not have arrived. Before 5.7 kombu has neither it nor
#: batches.
_BatchPublishError: tuple[type[Exception], ...] = tuple(
    filter(None, [getattr(exceptions, "BatchPublishError", None)])
)


#: The headers of a message that are its member's alone.
_BY_MEMBER = ("id", "group_index", "argsrepr", "kwargsrepr")


class GenericLayout:
    """The members' common part, ready for `publish`."""

    __slots__ = ("declare", "declared_on", "headers", "properties", "publish", "slots")

    def __init__(self, blueprint: Blueprint) -> None:
        body = blueprint.body
        self.headers = blueprint.headers
        #: Header name -> which of `_BY_MEMBER` it holds.
        numbers = {SLOTS[name]: number for number, name in enumerate(_BY_MEMBER)}
        self.slots = [
            (header, numbers[value])
            for header, value in blueprint.headers.items()
            if isinstance(value, str) and value in numbers
        ]
        self.properties = {
            name: value
            for name, value in blueprint.properties.items()
            if value != SLOTS["id"]
        }
        expiration_ms = self.properties.pop("expiration", None)
        if expiration_ms is not None:
            # `publish` takes seconds and truncates them to milliseconds.
            self.properties["expiration"] = (int(expiration_ms) + 0.5) / 1000
        self.declare = blueprint.declare
        #: The number of the wire's connection on which that is done, counted from 1.
        self.declared_on = 0
        self.publish: dict[str, Any] = {
            "exchange": blueprint.exchange,
            "routing_key": blueprint.routing_key,
            "priority": blueprint.priority,
            "content_type": body.content_type,
            "content_encoding": body.content_encoding,
            "delivery_mode": blueprint.delivery_mode,
            "mandatory": bool(blueprint.mandatory),
            "immediate": blueprint.immediate,
            "timeout": blueprint.timeout,
            "confirm_timeout": blueprint.confirm_timeout,
        }
        if blueprint.properties.get("correlation_id") != SLOTS["id"]:
            self.publish["correlation_id"] = blueprint.properties["correlation_id"]

    def headers_of(self, message: Message) -> dict[str, Any]:
        """Return a member's headers."""
        # As `_BY_MEMBER`.
        of_member = (
            message.id,
            message.group_index,
            message.argsrepr,
            message.kwargsrepr,
        )
        headers = dict(self.headers)
        for header, number in self.slots:
            headers[header] = of_member[number]
        return headers


class GenericWire(Wire):
    """A producer; one `publish` per member."""

    layout = GenericLayout

    def __init__(self, producer: Producer, *, batches: bool = True) -> None:
        """Publish through `producer`, which stays the caller's.

        Args:
            producer: kombu's.
            batches: Whether to use its batches, if its transport has any.
        """
        super().__init__()
        self._producer = producer
        self._batches = batches
        #: Counts the connections: a queue declared on one is not declared on the next.
        self._connected = 1

    def render(self, blueprint: Blueprint) -> Layout:
        return Layout.generic(self.layout(blueprint))

    def send(self, chunk: Chunk) -> None:
        messages = chunk.generic()
        if not messages:
            return
        if self._batches and getattr(self._producer, "supports_batch_publish", False):
            self._send_batch(chunk, messages)
            return
        for message in messages:
            self._tried(message.index, lambda: self._deliver(message))  # noqa: B023 - called at once

    def _deliver(self, message: Message) -> None:
        """Publish a message and note it, both within `_tried`.

        An interruption in between finds it unknown.
        """
        self._publish(message)
        self.dispatch.ledger.mark_index(message.index, Fate.CONFIRMED)

    def _send_batch(self, chunk: Chunk, messages: list[Message]) -> None:
        for message in messages:
            self._tried(message.index, lambda: self._declare(message.layout))  # noqa: B023 - called at once
        fate = Fate.UNKNOWN
        try:
            # No second try within: the batch is bound to its channel.
            with self._producer.batch(_BATCH) as batch:
                for message in messages:
                    self._publish(message)
            # In the caller's own batch they wait for its end.
            if batch.is_outermost:
                fate = Fate.CONFIRMED
        except _BatchPublishError as exc:
            raise Broken(f"broker: {exc}", recoverable=True) from exc
        finally:
            self.dispatch.ledger.mark(chunk, fate)

    def _declare(self, layout: GenericLayout) -> None:
        if layout.declared_on != self._connected:
            declare(layout.declare, self._producer.channel)
            layout.declared_on = self._connected

    def _publish(self, message: Message) -> None:
        layout: GenericLayout = message.layout
        headers = layout.headers_of(message)
        properties = {
            "correlation_id": message.id,
            **layout.publish,
            **layout.properties,
        }
        self._declare(layout)
        self._producer.publish(message.body, headers=headers, **properties)

    def _tried(self, index: int, work: Callable[[], None]) -> None:
        """Do `work` for a member within the retry policy."""
        while True:
            connection = self._producer.connection
            try:
                work()
            except recoverable_errors(connection) as exc:
                self.dispatch.maybe_double.add(index)
                self._again(exc, index)
            except (*connection.connection_errors, *connection.channel_errors) as exc:
                self.dispatch.ledger.mark_index(index, Fate.REJECTED)
                message = f"{connection.as_uri()} refuses it: {exc}"
                raise Broken(message, recoverable=False, index=index) from exc
            except BaseException:
                # Ctrl-C, for example: nobody knows how far it came.
                self.dispatch.ledger.mark_index(index, Fate.UNKNOWN)
                raise
            else:
                return

    def _again(self, exc: BaseException, index: int) -> None:
        connection = self._producer.connection
        try:
            self.dispatch.patience.pause(exc)
            connection.collect()
            connection.ensure_connection(max_retries=0, interval_start=0)
            self._producer.revive(connection)
            self._connected += 1
        except BaseException as lost:
            # Each message's fate is told once, and not while tries are left.
            self.dispatch.ledger.mark_index(index, Fate.UNKNOWN)
            if not isinstance(lost, recoverable_errors(connection)):
                raise
            message = f"{connection.as_uri()} is lost: {lost}"
            raise Broken(message, recoverable=True) from exc

    def flush(self) -> None:
        """Nothing is in flight after `send`."""

    def abort(self) -> None:
        # The connection may never answer.
        self._producer.connection.collect()
