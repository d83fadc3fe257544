"""RabbitMQ: ready frames in few writes, confirmed by window.

A channel of its own on an exclusive connection: its delivery tags count the messages
of its dispatches, so a confirm names members. It is kept from one dispatch to the next.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amqp.exceptions import (
    AMQPError,
    IrrecoverableChannelError,
    IrrecoverableConnectionError,
    MessageNacked,
)
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

from celerant._core import Chunk, Fate, Layout, monotonic
from celerant.dispatch.connections import Patience, connect, recoverable_errors
from celerant.dispatch.envelope import Blueprint
from celerant.dispatch.wires.amqp_layout import field_of, layout_of
from celerant.dispatch.wires.amqp_messages import said_at
from celerant.dispatch.wires.amqp_stream import FrameStream
from celerant.dispatch.wires.amqp_window import OpenChunk, Window
from celerant.dispatch.wires.base import (
    Broken,
    Dispatch,
    Unavailable,
    Wire,
    declare,
)
from celerant.dispatch.wires.exchange_types import ExchangeTypes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kombu import Connection

__all__ = ["AmqpWire", "carries"]

logger = logging.getLogger("celerant")

#: Bytes per write: between writes the socket is read, so that neither side stalls.
_BUFFER = 256 * 1024
#: Members that may be unconfirmed before sending pauses.
_WINDOW = 5000
#: Seconds that an interrupted dispatch takes to learn the fate of its messages.
_FAREWELL = 2.0
#: Seconds of silence that are allowed on a connection without a limit of its own.
_STALL = 60.0
#: Exchange and user of a message that no broker refuses.
_PLAIN = ("", None)
#: Seconds to listen to a blocked broker, even if the policy has no pause.
_LEAST_WAIT = 0.01

#: Errors that end the use of a channel: the transport's, and the broker's own closes.
_LOST = (OSError, AMQPError)
#: Closes that would come again: an unknown exchange, a missing right, a bad argument.
_FINAL = (IrrecoverableChannelError, IrrecoverableConnectionError)


def carries(connection: Connection) -> bool:
    """Whether this wire knows the connection's channels: kombu's own over py-amqp.

    No channel is opened for that: a broker may allow only one.
    """
    made = connection.transport.Connection
    return made is pyamqp.Connection and made.Channel is pyamqp.Channel


class AmqpWire(Wire):
    """A confirming channel."""

    def __init__(self, connection: Connection, patience: Patience) -> None:
        """Open the channel.

        Args:
            connection: A connected kombu connection, exclusively ours.
            patience: How often to connect again.
        Raises:
            Broken: The broker vanished.
        """
        super().__init__()
        self._connection = connection
        options = connection.transport_options or {}
        #: Off only if the user says so; then written messages count as confirmed.
        self._confirms: bool = options.get("confirm_publish", True)
        self._window = Window()
        self._types = ExchangeTypes()
        #: Exchange and user of messages that the broker has taken, and of others.
        self._proven: set[tuple[str, str | None]] = set()
        self._unproven: set[tuple[str, str | None]] = set()
        #: The broker's reason to take nothing; None: it takes messages.
        self._blocked: str | None = None
        self._channel: Any = None
        self._stream: Any = None
        #: The callback for a blocked broker from before this wire, which goes on with
        #: it.
        self._before: tuple[Any, Any] = (None, None)
        #: Monotonic time at which the broker last took or told something.
        self._heard_at = 0.0
        self._open(patience)

    def begin(self, dispatch: Dispatch) -> None:
        super().begin(dispatch)
        self._window.ledger = dispatch.ledger

    def end(self) -> None:
        super().end()
        self._window.end()
        self._unproven.clear()

    def is_alive(self) -> bool:
        try:
            self._poll()
        except _LOST:
            return False
        return self._channel is not None and self._channel.is_open

    # -- rendering -------------------------------------------------------------

    def declare(self, entities: Iterable[Any]) -> None:
        while True:
            try:
                declare(entities, self._channel)
            except _LOST as exc:
                self._recover(exc)
            else:
                return

    def render(self, blueprint: Blueprint) -> Layout | None:
        self.declare(blueprint.declare)
        proof = (blueprint.exchange, blueprint.properties.get("user_id"))
        if proof != _PLAIN and proof not in self._proven:
            self._unproven.add(proof)
        # Unroutable members come back instead of vanishing, unless told otherwise.
        mandatory = blueprint.mandatory is not False and self._routes_at_once(blueprint)
        return layout_of(blueprint, mandatory=mandatory)

    def _routes_at_once(self, blueprint: Blueprint) -> bool:
        while True:
            try:
                return self._types.routes_at_once(
                    blueprint.exchange, blueprint.declare, self._channel.connection
                )
            except _LOST as exc:
                self._recover(exc)

    def header(self, value: Any) -> bytes:
        return field_of(value)

    # -- sending ---------------------------------------------------------------

    def send(self, chunk: Chunk) -> None:
        if not chunk.has_wired:
            return
        if not self._unproven:
            self._send(chunk)
            self._check()
            return
        # A refused message closes the channel, and the confirms of all before it are
        # lost. So the first message to a destination that may refuse it goes alone. A
        # message that is only returned stops nothing in its chunk.
        start, end = 0, len(chunk.wired())
        for position in range(end):
            said = said_at(chunk, position)
            proof = (said.exchange, said.user_id)
            if proof in self._unproven:
                for piece in (range(start, position), range(position, position + 1)):
                    self._send(chunk.select(list(piece)))
                    self._await_confirms()
                self._unproven.discard(proof)
                self._proven.add(proof)
                start = position + 1
        self._send(chunk.select(list(range(start, end))))
        self._check()

    def _send(self, chunk: Chunk) -> None:
        opened = self._window.add(chunk)
        try:
            self._write(opened)
            while len(self._window.tags) > _WINDOW:
                self._read()
        except _LOST as exc:
            self._recover(exc)

    def flush(self) -> None:
        self._await_confirms()
        self._check()

    def _await_confirms(self) -> None:
        while self._window.tags:
            try:
                self._read()
            except _LOST as exc:
                self._recover(exc)

    def settle(self) -> None:
        end = monotonic() + _FAREWELL
        if self._window.is_writing:
            self._channel.connection.transport.sock.settimeout(_FAREWELL)
            self._stream.finish()
            self._window.note_written(confirms=self._confirms)
        self._window.take_answer()
        self._stream.mend()
        while self._window.tags and self._blocked is None:
            self._stream.drain(max(0.001, end - monotonic()))

    def abort(self) -> None:
        self._window.give_up()
        # Half a frame may be on its way, so nobody must use this socket again.
        self._connection.collect()
        self._channel = None

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        raw = channel.connection
        if raw is not None:
            raw.on_blocked, raw.on_unblocked = self._before
        # A py-amqp channel is a cycle, and waits for the collector. It ends with its
        # connection; a blocked broker would not let it end by itself.
        channel.events.clear()

    def leave(self) -> None:
        channel = self._channel
        self.close()
        if channel is not None:
            self._stream.leave()
        if channel is not None and channel.is_open:
            with suppress(*_LOST):
                channel.close()

    def _write(self, opened: OpenChunk) -> None:
        """Write the chunk's messages, reading confirms between buffers."""
        raw = self._channel.connection
        start, end = 0, len(opened.indices)
        while start < end:
            if self._blocked is not None:
                self._wait_while_blocked()
            self._heard_at = monotonic()
            buffer, stop = opened.chunk.amqp(
                self._channel.channel_id, raw.frame_max, start, _BUFFER
            )
            self._stream.take(buffer)
            # From here on `settle` finishes what an interruption leaves over.
            self._window.write(opened, range(start, stop))
            self._stream.finish()
            self._window.note_written(confirms=self._confirms)
            start = stop
            self._poll()

    def _poll(self) -> None:
        """Read the broker's words so far, without waiting."""
        while True:
            try:
                self._stream.drain(0)
            except TimeoutError:
                return

    def _read(self) -> None:
        """Wait for the broker's next word."""
        if self._blocked is not None:
            self._wait_while_blocked()
            return
        # Heartbeats are words too, but no progress.
        limit = self._channel.connection.transport.sock.gettimeout() or _STALL
        left = self._heard_at + limit - monotonic()
        try:
            self._stream.drain(max(left, _LEAST_WAIT))
        except TimeoutError as exc:
            msg = f"nothing was confirmed for {limit:g} s (celerant_stall_timeout)"
            raise TimeoutError(msg) from exc

    def _wait_while_blocked(self) -> None:
        """Wait until the broker takes messages again, as the retry policy says."""
        while self._blocked is not None:
            message = f"rabbitmq takes no messages: {self._blocked}"
            exc = OperationalError(message)
            try:
                end = monotonic() + self.dispatch.patience.next(exc)
            except OperationalError:
                self.abort()
                raise Broken(message, recoverable=True) from exc
            left = _LEAST_WAIT
            while self._blocked is not None and left > 0:
                with suppress(TimeoutError):
                    self._stream.drain(left)
                left = end - monotonic()

    # -- confirms --------------------------------------------------------------

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        self.dispatch.patience.reset()
        self._heard_at = monotonic()
        self._window.answer(tag, multiple, Fate.CONFIRMED)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        self._heard_at = monotonic()
        self._window.answer(tag, multiple, Fate.REJECTED)

    def _check(self) -> None:
        if self._window.refusal is not None:
            # Open messages settle first, so that the report is exact.
            while self._window.tags:
                try:
                    self._read()
                except _LOST:
                    self.abort()
            refusal, self._window.refusal = self._window.refusal, None
            passing = isinstance(refusal.cause, MessageNacked)
            message = f"rabbitmq: {refusal.reason}"
            raise Broken(
                message, recoverable=passing, index=refusal.index
            ) from refusal.cause

    # -- connection --------------------------------------------------------------

    def _open(self, patience: Patience) -> None:
        while True:
            try:
                self._open_once()
            except recoverable_errors(self._connection) as exc:
                self._again(exc, patience)
                self._reconnect(patience)
            except AMQPError as exc:
                self._connection.collect()
                raise Unavailable(f"no channel of its own ({exc})") from exc
            else:
                return

    def _open_once(self) -> None:
        self._channel = self._connection.channel()
        raw = self._channel.connection
        self._stream = FrameStream(raw)
        self._before = raw.on_blocked, raw.on_unblocked
        raw.on_blocked, raw.on_unblocked = self._on_blocked, self._on_unblocked
        self._window.reopen()
        self._blocked = None
        if self._confirms:
            self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._window.returned)

    def _on_blocked(self, reason: str) -> None:
        logger.warning("rabbitmq blocks publishing: %s", reason)
        self._blocked = reason

    def _on_unblocked(self) -> None:
        self._blocked = None
        self._heard_at = monotonic()

    def _reconnect(self, patience: Patience) -> None:
        self._connection.collect()
        try:
            connect(self._connection, patience)
        except recoverable_errors(self._connection) as exc:
            self._lose(exc)

    def _recover(self, exc: BaseException) -> None:
        """Connect again and send the unconfirmed window once more."""
        while True:
            if isinstance(exc, _FINAL):
                index = self._window.reject(str(exc))
                self.abort()
                message = f"rabbitmq refuses: {exc}"
                raise Broken(message, recoverable=False, index=index) from exc
            self._again(exc, self.dispatch.patience)
            self._window.reopen()
            self._reconnect(self.dispatch.patience)
            try:
                self._open_once()
                for opened in list(self._window.opened):
                    self.dispatch.maybe_double |= opened.keep_open()
                    self._write(opened)
            except _LOST as again:
                exc = again
                continue
            return

    def _again(self, exc: BaseException, patience: Patience) -> None:
        try:
            patience.pause(exc)
        except Exception:  # noqa: BLE001 - the last try's own error
            self._lose(exc)

    def _lose(self, exc: BaseException) -> None:
        self.abort()
        raise Broken(f"rabbitmq is lost: {exc}", recoverable=True) from exc
