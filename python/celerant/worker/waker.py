"""Wake a thread that waits in an event loop."""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["Waker"]


class Waker:
    """A socket that becomes readable when any thread calls `wake`."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)  # noqa: FBT003 - the socket API
        self._writer.setblocking(False)  # noqa: FBT003 - the socket API
        self._lock = threading.Lock()
        self._pending = False

    def fileno(self) -> int:
        """Return the file descriptor to poll for reading."""
        return self._reader.fileno()

    def wake(self) -> None:
        """Make the socket readable; cheap if it is already."""
        with self._lock:
            if self._pending:
                return
            self._pending = True
        # Another thread may have closed the socket.
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def drain(self) -> None:
        """Make the socket unreadable; called before the thread checks for work."""
        # Read before the flag is cleared. In the other order a wake in between would
        # lose its byte and keep the flag set, and no later wake would send a byte.
        with contextlib.suppress(OSError):
            self._reader.recv(4096)
        with self._lock:
            self._pending = False

    def close(self) -> None:
        """Release both ends."""
        self._reader.close()
        self._writer.close()
