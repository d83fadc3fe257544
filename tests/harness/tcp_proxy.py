"""A TCP proxy on the loopback that loses a reply, or a request, on demand."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

__all__ = ["TcpProxy"]

_READ_BYTES = 1 << 16


class TcpProxy:
    """Forwards to a server; cuts a connection at a given place.

    Both predicates see all that the client has sent on the connection so far.
    `lose_reply`: the request is forwarded and executed, then its reply is dropped and
    the connection closed. `lose_request`: the connection is closed before the last
    piece is forwarded. Together they fire `times` times. `distance`: seconds that each
    reply is under way. `holds`: whether replies wait until the client has sent more.
    """

    def __init__(
        self,
        port: int,
        *,
        lose_reply: Callable[[bytes], bool] | None = None,
        lose_request: Callable[[bytes], bool] | None = None,
        times: int = 1,
        distance: float = 0,
        holds: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._target = ("127.0.0.1", port)
        self._lose_reply = lose_reply
        self._lose_request = lose_request
        self._left = times
        #: Sees all that each client has sent so far, and which one; fires to cut it.
        self._watch: Callable[[bytes, object], bool] | None = None
        self._watch_loses_reply = False
        self._distance = distance
        self._holds = holds
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._muted: set[socket.socket] = set()
        self._mutes_new = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> TcpProxy:
        self._start(self._accept)
        return self

    @property
    def count(self) -> int:
        """How many connections there are."""
        with self._lock:
            return len(self._open) // 2

    def cut(self) -> None:
        """Close all connections; new ones are taken."""
        with self._lock:
            ends = list(self._open)
        for end in ends:
            _shut(end)

    def mute(self, *, new: bool) -> None:
        """Swallow all replies on the connections there are, and on `new` ones."""
        with self._lock:
            self._muted |= self._open
            self._mutes_new = new

    def watch(
        self,
        watch: Callable[[bytes, object], bool] | None,
        *,
        loses_reply: bool = False,
    ) -> None:
        """Have each piece shown to `watch`, which says whether to cut there.

        Args:
            watch: Called with all that a client has sent, and the client.
            loses_reply: Whether the last piece arrives.
        """
        self._watch, self._watch_loses_reply = watch, loses_reply

    def _is_cut(self, request: bytearray, client: object, *, late: bool) -> bool:
        watch = self._watch
        return (
            watch is not None
            and late == self._watch_loses_reply
            and watch(bytes(request), client)
        )

    def forward(self) -> None:
        """Lose nothing from now on."""
        with self._lock:
            self._left = 0

    def __exit__(self, *exc_info: object) -> None:
        self._closing.set()
        # A connection of our own ends the accept; shutdown ends the reads.
        with socket.create_connection(self._listener.getsockname()):
            pass
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            client, _ = self._listener.accept()
            if self._closing.is_set():
                client.close()
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._start(self._relay, client, server)

    def _fire(self, predicate: Callable[[bytes], bool] | None, request: bytes) -> bool:
        if predicate is None or not predicate(request):
            return False
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            self.cuts += 1
            return True

    def _relay(self, client: socket.socket, server: socket.socket) -> None:  # noqa: C901, PLR0912 - one loop over both ends
        with self._lock:
            self._open |= {client, server}
            if self._mutes_new:
                self._muted.add(server)
        request = bytearray()
        #: Replies under way, and the times at which they arrive.
        replies: deque[tuple[float, bytes]] = deque()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ)
                selector.register(server, selectors.EVENT_READ)
                while not self._closing.is_set():
                    left = None
                    is_held = self._holds is not None and self._holds(bytes(request))
                    if replies and not is_held:
                        left = replies[0][0] - time.monotonic()
                    ready = [key.fileobj for key, _ in selector.select(left)]
                    if server in ready:
                        data = server.recv(_READ_BYTES)
                        if not data:
                            client.sendall(b"".join(rest for _, rest in replies))
                            return
                        if server not in self._muted:
                            replies.append((time.monotonic() + self._distance, data))
                    now = time.monotonic()
                    while replies and not is_held and replies[0][0] <= now:
                        client.sendall(replies.popleft()[1])
                    if client in ready:
                        data = client.recv(_READ_BYTES)
                        request += data
                        if not data or self._fire(self._lose_request, bytes(request)):
                            return
                        if self._is_cut(request, client, late=False):
                            return
                        server.sendall(data)
                        if self._is_cut(request, client, late=True):
                            return
                        if self._fire(self._lose_reply, bytes(request)):
                            # The end of our stream makes the server execute all that
                            # it has, answer and close: its end means it is done.
                            server.shutdown(socket.SHUT_WR)
                            while server.recv(_READ_BYTES):
                                pass
                            return
        except OSError:
            # Either end went away: the connection is over.
            return
        finally:
            with self._lock:
                self._open -= {client, server}
                self._muted -= {client, server}
            for end in (client, server):
                _shut(end)
                end.close()


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Already closed by its peer.
        return
