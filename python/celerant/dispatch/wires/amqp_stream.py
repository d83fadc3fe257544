"""The bytes of one connection to RabbitMQ, which an interruption does not tear.

Ctrl-C comes between any two steps of Python. py-amqp would then have lost what it had
read of a frame, and nobody would know how much of a buffer had been written.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FrameStream"]

#: Bytes per write: the limit for a broker that stalls is one for each.
_PIECE = 256 * 1024
_METHOD = 1
#: Class and method of `basic.ack` and `basic.nack`: a second one changes nothing.
_ANSWERS = frozenset({(60, 80), (60, 120)})


class FrameStream:
    """Reads and writes for a py-amqp connection that is exclusively ours.

    After an interruption `mend` comes first; then both go on where they were.
    """

    #: The reader of the socket.
    receive: Callable[[int], bytes]

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        transport = self._transport = connection.transport
        self._is_reading = False
        #: The bytes of the frame that is being read, and of unused ones before it.
        self._read: list[bytes] = []
        self._unused = b""
        #: The frame that is being acted upon.
        self._frame: Any = None
        #: The buffer, and how much of it each `send` took.
        self._writing: tuple[memoryview, list[int]] = (memoryview(b""), [])
        receive: Callable[[int], bytes] = transport._quick_recv  # noqa: SLF001 - py-amqp has no other way in
        # An earlier channel on the same connection may have put it there.
        owner = getattr(receive, "__self__", None)
        if isinstance(owner, FrameStream):
            receive = owner.receive
        self.receive = receive
        transport._quick_recv = self._received  # noqa: SLF001 - as above

    def leave(self) -> None:
        """Leave the connection to others, as it was."""
        self._transport._quick_recv = self.receive  # noqa: SLF001 - as above

    def take(self, buffer: bytes) -> None:
        """Take a buffer, which `finish` writes; the one before is written."""
        # In one step: an interruption finds the new one whole, or the old one.
        self._writing = memoryview(buffer), []

    def finish(self) -> None:
        """Write the rest of the buffer; after an interruption, again."""
        buffer, sent = self._writing
        try:
            while (at := sum(sent)) < len(buffer):
                # Sent and noted in one step: no signal is heard in between.
                piece = buffer[at : at + _PIECE]
                sent.extend(map(self._transport.sock.send, (piece,)))
        except OSError:
            # As py-amqp's own `write` does.
            self._transport.connected = False
            raise

    def drain(self, timeout: float) -> None:
        """Act upon the broker's next word.

        Raises:
            TimeoutError: There is none for `timeout` seconds.
        """
        is_done = False
        while not is_done:
            self._unused = self._transport._read_buffer  # noqa: SLF001 - as above
            self._read.clear()
            self._is_reading = True
            try:
                with self._transport.having_timeout(timeout):
                    self._frame = self._transport.read_frame()
            except Exception:
                # py-amqp keeps what it has read.
                self._is_reading = False
                raise
            self._is_reading = False
            is_done = self._connection.on_inbound_frame(self._frame)
            self._frame = None

    def mend(self) -> None:
        """Put back the frame that an interruption has left half-read."""
        frame, self._frame = self._frame, None
        if frame is not None:
            if frame[0] == _METHOD and struct.unpack_from(">HH", frame[2]) in _ANSWERS:
                self._connection.on_inbound_frame(frame)
        elif self._is_reading:
            unread = self._unused + b"".join(self._read)
            self._transport._read_buffer = unread  # noqa: SLF001 - as above
        self._is_reading = False

    def _received(self, size: int) -> bytes:
        self._read.extend(map(self.receive, (size,)))
        return self._read[-1]
