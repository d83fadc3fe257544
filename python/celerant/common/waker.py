"""Wake a thread that waits for a socket."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Any

__all__ = ["Waker"]


class Waker:
    """A socket that becomes readable when any thread calls `wake`.

    It is no pipe: on Windows nobody can wait for one beside a socket.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)  # noqa: FBT003 - the socket API
        self._writer.setblocking(False)  # noqa: FBT003 - the socket API
        # Held while it is written and closed: a closed descriptor may be another file's
        # at once. It is reentrant, because the garbage collector may call `wake`
        # during another call of it.
        self._lock = threading.RLock()
        self._is_pending = False

    def fileno(self) -> int:
        """Return the file descriptor to poll for reading."""
        return self._reader.fileno()

    def wake(self) -> None:
        """End the present wait, or the next one; cheap if it is ended already."""
        with self._lock:
            if not self._is_pending:
                self._is_pending = True
                # It may be closed.
                with contextlib.suppress(OSError):
                    self._writer.send(b"\0")

    def drain(self) -> None:
        """Make the socket unreadable; called before the thread checks for work."""
        # Read before the flag is cleared. In the other order a wake in between would
        # lose its byte and keep the flag set, and no later wake would send a byte.
        with contextlib.suppress(OSError):
            self._reader.recv(4096)
        with self._lock:
            self._is_pending = False

    def wait(self, sock: Any, timeout: float | None) -> None:
        """Wait until `sock` (if not None) is readable, `wake`, or `timeout` seconds.

        The thread checks for work after that.
        """
        waited_on = [self._reader] if sock is None else [self._reader, sock]
        if hasattr(select, "poll"):  # no limit of 1,024 descriptors
            poll = select.poll()
            for source in waited_on:
                poll.register(source, select.POLLIN)
            poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        else:
            select.select(waited_on, [], [], timeout)
        self.drain()

    def close(self) -> None:
        """Release both ends; a second call does nothing."""
        with self._lock:
            self._reader.close()
            self._writer.close()

    def after_fork(self) -> None:
        """In a forked child, close its copies of the descriptors."""
        self._lock = threading.RLock()  # another thread may have held the lock
        self.close()
