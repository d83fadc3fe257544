"""RabbitMQ: ready frames in few writes, confirmed by window.

A channel of its own on an exclusive connection: its delivery tags count the messages
of its dispatches, so a confirm names members. It is kept from one dispatch to the next.
"""

from __future__ import annotations

import logging
from collections import deque
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

from celerant._core import Chunk, Fate, Form, monotonic
from celerant.dispatch.blueprints import Drawn
from celerant.dispatch.connections import Patience, connect, recoverable_errors
from celerant.dispatch.envelope import Blueprint
from celerant.dispatch.wires.amqp_form import field_of, form_of
from celerant.dispatch.wires.amqp_messages import is_meant, said_at
from celerant.dispatch.wires.amqp_stream import Stream
from celerant.dispatch.wires.base import Broken, Unavailable, Wire, declare
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
#: Seconds that an interrupted dispatch takes to learn what has become of it.
_FAREWELL = 2.0
#: Seconds without a word on a connection that has no limit of its own.
_STALL = 60.0
#: Exchange and user of what no broker refuses.
_PLAIN = ("", None)
#: Seconds that a blocked broker is listened to, even where the policy has no pause.
_LEAST_WAIT = 0.01

#: What ends the use of a channel: transport errors and the broker's own closes.
_LOST = (OSError, AMQPError)
#: Closes that would come again: an unknown exchange, a missing right, a bad argument.
_FINAL = (IrrecoverableChannelError, IrrecoverableConnectionError)


def carries(connection: Connection) -> bool:
    """Whether this wire knows what a connection opens: kombu's own over py-amqp.

    No channel is opened for that: a broker may allow only one.
    """
    kind = connection.transport.Connection
    return kind is pyamqp.Connection and kind.Channel is pyamqp.Channel


class _Part:
    """A chunk, and which of its messages are not settled and which were written.

    Messages go by their position in the chunk: those of a chord share an index.
    """

    __slots__ = ("chunk", "indices", "open", "written")

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        #: Position -> index of the member.
        self.indices = chunk.wired()
        self.open = set(range(len(self.indices)))
        #: How many were written, from the first on.
        self.written = 0

    def doubtful(self) -> set[int]:
        """Return positions of messages that were written and are not settled."""
        return {position for position in self.open if position < self.written}

    def keep_open(self) -> set[int]:
        """Forget what is settled; return the members that are doubtful."""
        doubtful = self.doubtful()
        members = {self.indices[position] for position in doubtful}
        kept = sorted(self.open)
        self.chunk = self.chunk.select(kept)
        self.indices = [self.indices[position] for position in kept]
        self.open = set(range(len(kept)))
        # Those that were written come before those that were not.
        self.written = len(doubtful)
        return members


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
        #: Off only where the user says so; then what is written counts as confirmed.
        self._confirms: bool = options.get("confirm_publish", True)
        self._parts: deque[_Part] = deque()
        #: Delivery tag -> (part, position in it), in order of tags.
        self._tags: dict[int, tuple[_Part, int]] = {}
        self._tag = 0
        #: What is being written: of which part, and its positions.
        self._pending: tuple[_Part, range] | None = None
        #: The answer that is being noted: tag, whether all before it, and their fate.
        self._answer: tuple[int, bool, Fate] | None = None
        #: Task id of an unroutable message -> why, until its ack comes.
        self._returned: dict[str, tuple[str, Exception]] = {}
        self._refusal: str | None = None
        self._cause: Exception | None = None
        #: The first member that was refused.
        self._refused: int | None = None
        self._types = ExchangeTypes()
        #: Exchange and user of messages that the broker has taken, and of others.
        self._proven: set[tuple[str, str | None]] = set()
        self._unproven: set[tuple[str, str | None]] = set()
        #: What the broker says of why it takes nothing; None: it does.
        self._blocked: str | None = None
        self._channel: Any = None
        self._stream: Any = None
        #: Who heard of a broker that blocks, and goes on with it, before this wire.
        self._before: tuple[Any, Any] = (None, None)
        #: Monotonic; when the broker last took or told something.
        self._heard_at = 0.0
        self._open(patience)

    def end(self) -> None:
        super().end()
        self._returned.clear()
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

    def render(self, drawn: Drawn) -> Form | None:
        blueprint = drawn.blueprint
        self.declare(blueprint.declare)
        proof = (blueprint.exchange, blueprint.properties.get("user_id"))
        if proof != _PLAIN and proof not in self._proven:
            self._unproven.add(proof)
        # Unroutable members come back instead of vanishing, unless told otherwise.
        mandatory = blueprint.mandatory is not False and self._routes_at_once(blueprint)
        return form_of(blueprint, mandatory=mandatory)

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
        if not self._unproven:
            self._send(chunk)
            self._check()
            return
        # What may be refused closes the channel, and takes with it the confirms of all
        # before it: the first of its kind goes alone. One that is only returned stops
        # nothing in its chunk.
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
        part = _Part(chunk)
        if not part.open:
            return
        self._parts.append(part)
        try:
            self._write(part)
            while len(self._tags) > _WINDOW:
                self._read()
        except _LOST as exc:
            self._recover(exc)

    def flush(self) -> None:
        self._await_confirms()
        self._check()

    def _await_confirms(self) -> None:
        while self._tags:
            try:
                self._read()
            except _LOST as exc:
                self._recover(exc)

    def settle(self) -> None:
        end = monotonic() + _FAREWELL
        if self._pending is not None:
            self._channel.connection.transport.sock.settimeout(_FAREWELL)
            self._stream.finish()
            self._note_written()
        if self._answer is not None:
            self._take_answer()
        self._stream.mend()
        while self._tags and self._blocked is None:
            self._stream.drain(max(0.001, end - monotonic()))

    def abort(self) -> None:
        for part in self._parts:
            # What was not written never left.
            for position in part.doubtful():
                self.dispatch.ledger.mark_index(part.indices[position], Fate.UNKNOWN)
        self._tags.clear()
        self._parts.clear()
        self._pending = self._answer = None
        # Half a frame may be on its way: nobody must use this socket again.
        self._connection.collect()
        self._channel = None

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        raw = channel.connection
        if raw is not None:
            raw.on_blocked, raw.on_unblocked = self._before
        # A py-amqp channel is a cycle: what it holds waits for the collector. It ends
        # with its connection, which a blocked broker would not let it do by itself.
        channel.events.clear()

    def leave(self) -> None:
        channel = self._channel
        self.close()
        if channel is not None:
            self._stream.leave()
        if channel is not None and channel.is_open:
            with suppress(*_LOST):
                channel.close()

    def _write(self, part: _Part) -> None:
        """Write the part's messages, reading confirms between buffers."""
        raw = self._channel.connection
        start, end = 0, len(part.indices)
        while start < end:
            if self._blocked is not None:
                self._wait_while_blocked()
            self._heard_at = monotonic()
            buffer, stop = part.chunk.amqp(
                self._channel.channel_id, raw.frame_max, start, _BUFFER
            )
            part.written = max(part.written, stop)
            self._pending = part, range(start, stop)
            self._stream.write(buffer)
            self._note_written()
            start = stop
            self._poll()

    def _note_written(self) -> None:
        """Count on the confirms of what was written; after an interruption, again."""
        assert self._pending is not None  # noqa: S101 - the caller looked
        part, positions = self._pending
        if self._confirms:
            first = self._tag + 1
            entries = ((part, position) for position in positions)
            self._tags.update(enumerate(entries, first))
        else:
            for position in positions:
                self._settle(part, position, Fate.CONFIRMED)
        self._pending, self._tag = None, self._tag + len(positions)

    def _poll(self) -> None:
        """Take what the broker has said so far, without waiting."""
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
        self._answer = (tag, multiple, Fate.CONFIRMED)
        self._take_answer()

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
        # A full queue, as a rule: there may be room later.
        if self._refusal is None:
            self._refusal = "the broker refused them (basic.nack): is a queue full?"
            self._cause = MessageNacked(self._refusal)
        self._answer = (tag, multiple, Fate.REJECTED)
        self._take_answer()

    def _on_return(
        self, exc: Exception, exchange: str, routing_key: str, message: Any
    ) -> None:
        """Note an unroutable message; its ack follows."""
        headers = message.properties.get("application_headers") or {}
        where = f"exchange {exchange!r}, routing key {routing_key!r}"
        self._returned[str(headers.get("id"))] = f"unroutable ({where}): {exc}", exc

    def _take_answer(self) -> None:
        """Note what the broker said; after an interruption anywhere, again."""
        assert self._answer is not None  # noqa: S101 - the caller looked
        self._heard_at = monotonic()
        tag, multiple, fate = self._answer
        if not multiple:
            entry = self._tags.get(tag)
            if entry is not None:
                self._settle(*entry, fate)
                del self._tags[tag]
        while multiple and self._tags:
            first = next(iter(self._tags))
            if first > tag:
                break
            self._settle(*self._tags[first], fate)
            del self._tags[first]
        self._answer = None

    def _settle(self, part: _Part, position: int, fate: Fate) -> None:
        if position in part.open:
            index = part.indices[position]
            if self._returned:
                reason = self._returned.pop(part.chunk.id(position), None)
                if reason is not None:
                    fate = Fate.REJECTED
                    self._refusal, self._cause = reason
            if fate == Fate.REJECTED and self._refused is None:
                self._refused = index
            self.dispatch.ledger.mark_index(index, fate)
            part.open.discard(position)
        while self._parts and not self._parts[0].open:
            self._parts.popleft()

    def _check(self) -> None:
        if self._refusal is not None:
            # What is still open settles first, so that the report is exact.
            while self._tags:
                try:
                    self._read()
                except _LOST:
                    self.abort()
            passing = isinstance(self._cause, MessageNacked)
            message = f"rabbitmq: {self._refusal}"
            index, self._refused = self._refused, None
            self._refusal, cause = None, self._cause
            raise Broken(message, recoverable=passing, index=index) from cause

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
        self._stream = Stream(raw)
        self._before = raw.on_blocked, raw.on_unblocked
        raw.on_blocked, raw.on_unblocked = self._on_blocked, self._on_unblocked
        self._tag = 0
        self._blocked = None
        if self._confirms:
            self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)

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
                index = self._reject(str(exc))
                self.abort()
                message = f"rabbitmq refuses: {exc}"
                raise Broken(message, recoverable=False, index=index) from exc
            self._again(exc, self.dispatch.patience)
            self._tags.clear()
            self._pending = None
            # They go out again, and may find a queue now.
            self._returned.clear()
            self._reconnect(self.dispatch.patience)
            try:
                self._open_once()
                for part in list(self._parts):
                    self.dispatch.maybe_double |= part.keep_open()
                    self._write(part)
            except _LOST as again:
                exc = again
                continue
            return

    def _reject(self, refusal: str) -> int | None:
        """Mark the message that is meant as rejected; return its member, if known.

        What was written behind it the broker has not looked at: it never left.
        """
        written = [
            (part, position)
            for part in self._parts
            for position in sorted(part.doubtful())
        ]
        meant = (
            number
            for number, (part, position) in enumerate(written)
            if len(written) == 1 or is_meant(refusal, said_at(part.chunk, position))
        )
        number = next(meant, None)
        if number is None:
            return None
        part, position = written[number]
        index = part.indices[position]
        self.dispatch.ledger.mark_index(index, Fate.REJECTED)
        for behind, place in written[number:]:
            behind.open.discard(place)
        return index

    def _again(self, exc: BaseException, patience: Patience) -> None:
        try:
            patience.pause(exc)
        except Exception:  # noqa: BLE001 - the last try's own error
            self._lose(exc)

    def _lose(self, exc: BaseException) -> None:
        self.abort()
        raise Broken(f"rabbitmq is lost: {exc}", recoverable=True) from exc
