"""A TCP proxy that delays what it passes on, as distance does: all of it by the same.

It runs in a process of its own, so that it takes no turn of the interpreter that is
measured. ``python delaying.py 6379 0.005`` prints the port that it listens on.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

__all__ = ["delayed"]

_PIECE = 1 << 20


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[int]:
    """Have a proxy to a port of this machine; yields its own port.

    Args:
        port: Where it passes on to.
        seconds: That each byte takes longer, in either direction.
    """
    with subprocess.Popen(
        [sys.executable, str(Path(__file__)), str(port), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _serve(port: int, seconds: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            near = listening.accept()[0]
            far = socket.create_connection(("127.0.0.1", port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _pass_on(near, far, seconds)
            _pass_on(far, near, seconds)


def _pass_on(source: socket.socket, target: socket.socket, seconds: float) -> None:
    """Pass bytes on in threads: one reads at once, the other writes when it is time."""
    under_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def read() -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(_PIECE)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + seconds, data))

    def write() -> None:
        while True:
            due, data = under_way.get()
            left = due - time.monotonic()
            if left > 0:
                # This is the distance: nothing else is waited for.
                time.sleep(left)
            try:
                if data:
                    target.sendall(data)
                    continue
                target.shutdown(socket.SHUT_WR)
            except OSError:
                # It has gone: the other side is to know.
                with suppress(OSError):
                    source.shutdown(socket.SHUT_RDWR)
            return

    for work in (read, write):
        threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
