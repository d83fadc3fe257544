"""Ready bytes for Redis: what a server takes if nothing has to be made."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["pushing"]


@contextmanager
def pushing(
    message: bytes, queue: str, *, chunk: int = 500, in_flight: int = 1
) -> Iterator[Callable[[int], None]]:
    """Connect; yields what pushes a message so many times by variadic ``LPUSH``.

    Args:
        message: Each item.
        queue: The list, in database 11.
        chunk: Items of a command.
        in_flight: Commands without a reply, at most.
    """
    key = queue.encode()
    item = b"$%d\r\n%s\r\n" % (len(message), message)

    def push(count: int) -> bytes:
        head = b"*%d\r\n$5\r\nLPUSH\r\n$%d\r\n%s\r\n" % (count + 2, len(key), key)
        return head + item * count

    whole = push(chunk)

    def send(n: int) -> None:
        unanswered = 0
        for start in range(0, n, chunk):
            count = min(chunk, n - start)
            sock.sendall(whole if count == chunk else push(count))
            unanswered += 1
            while unanswered >= in_flight:
                unanswered -= sock.recv(256).count(b"\n")
        while unanswered:
            unanswered -= sock.recv(256).count(b"\n")

    with socket.create_connection(("127.0.0.1", 6379)) as sock:
        sock.sendall(b"SELECT 11\r\n")
        sock.recv(64)
        yield send
