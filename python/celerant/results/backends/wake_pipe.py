"""A pipe by which any thread ends a wait for a socket."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Any

__all__ = ["WakePipe"]


class WakePipe:
    """Waits for a socket, or for a call of `wake`."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        # A closed descriptor may be another file's at once, so no write may follow the
        # close. The lock is reentrant, because the garbage collector may call `wake`
        # during another call of it.
        self._lock = threading.RLock()
        self._is_closed = False

    def wake(self) -> None:
        """End the present wait, or the next one; any thread calls it."""
        # If the pipe is full, the waiter is awake already.
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._is_closed:
                os.write(self._in, b"\0")

    def wait(self, sock: Any, timeout: float | None) -> None:
        """Wait until `sock` (if not None) is readable, `wake`, or `timeout` seconds."""
        waited_on = [self._out]
        if sock is not None:
            waited_on.append(sock)
        if hasattr(select, "poll"):  # no limit of 1,024 descriptors
            poll = select.poll()
            for source in waited_on:
                poll.register(source, select.POLLIN)
            poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        else:
            select.select(waited_on, [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            os.read(self._out, 65536)

    def close(self) -> None:
        """Close the pipe; a second call does nothing."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._in)
                os.close(self._out)

    def after_fork(self) -> None:
        """In a forked child, close its copies of the descriptors."""
        self._lock = threading.RLock()  # another thread may have held the lock
        self.close()
