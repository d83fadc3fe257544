"""The main loop of a child process: it runs jobs and answers them."""

from __future__ import annotations

import pickle
from struct import Struct
from typing import TYPE_CHECKING, Any

from celerant.worker.child import prepare, run

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from celerant.worker.claims import Claims

__all__ = ["FRAME", "LARGE", "RING", "serve"]

#: The head of a batch or an answer: its length in bytes, and its (first) job's number.
FRAME = Struct("<QQ")
#: Bytes that a child sends beside its answers: its answers are written, or a large one
#: follows.
RING, LARGE = b".", b"L"
#: Bytes of unread answers that the socket can hold, and the kernel's own bytes for each
#: answer.
_ROOM, _OVERHEAD = 96 << 10, 1280


def serve(
    jobs: socket.socket,
    answers: socket.socket,
    claims: Claims,
    modules: Sequence[str],
    set_up: Sequence[Callable[[], Any]],
) -> None:
    """Run batches of jobs until the parent closes the socket.

    Each answer is written as soon as its job ends, so a child that dies later loses
    none. The parent is woken once for a batch.

    Args:
        jobs: The socket that brings batches, and takes `RING` and `LARGE`.
        answers: The socket that takes an answer for each job.
        claims: Where the child notes that a job begins.
        modules: Names of the modules to import first.
        set_up: Called before the imports.
    """
    for end in (jobs, answers):
        # A program may give all new sockets a timeout, before it is imported here too.
        end.settimeout(None)
    claims.meant_end.listen()
    prepare(modules, set_up)
    _Serving(jobs, answers, claims).run()


class _Serving:
    def __init__(
        self, jobs: socket.socket, answers: socket.socket, claims: Claims
    ) -> None:
        self._jobs = jobs
        self._answers = answers
        self._claims = claims
        #: Bytes of answers that the parent may not have read.
        self._unread = 0

    def run(self) -> None:
        try:
            # An answer without a job says that the child is ready.
            self._answer(0, b"")
            self._ring()
            with self._jobs.makefile("rb") as batches:
                while head := batches.read(FRAME.size):
                    length, number = FRAME.unpack(head)
                    batch: list[bytes] = pickle.loads(batches.read(length))  # noqa: S301 - made by our own parent
                    self._run(batch, number)
                    del batch
        except (EOFError, OSError):
            # The parent has closed the socket or died.
            return

    def _run(self, batch: list[bytes], number: int) -> None:
        for job in batch:
            if self._claims.begin(number):
                self._answer(number, run(job))
            number += 1
        self._ring()

    def _answer(self, number: int, answer: bytes) -> None:
        self._unread += len(answer) + _OVERHEAD
        is_large = self._unread > _ROOM
        if is_large:
            # The write below may block until the parent reads.
            self._jobs.sendall(LARGE)
        self._answers.sendall(FRAME.pack(len(answer), number) + answer)
        if is_large:
            self._ring()

    def _ring(self) -> None:
        self._unread = 0
        self._jobs.sendall(RING)
