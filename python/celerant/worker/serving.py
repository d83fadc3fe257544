"""The loop of a child process of the pool: it runs jobs and answers them."""

from __future__ import annotations

import pickle
from struct import Struct
from typing import TYPE_CHECKING

from celerant.worker.child import prepare, run

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from celerant.worker.claims import Claims

__all__ = ["FRAME", "LARGE", "RING", "serve"]

#: What comes before a batch, and before an answer: its bytes, and the first number.
FRAME = Struct("<QQ")
#: What a child says beside its answers: all that it has are there; a large one comes.
RING, LARGE = b".", b"L"
#: Bytes of answers that the socket holds while nobody reads them, and the kernel's own
#: for each.
_ROOM, _OVERHEAD = 96 << 10, 1280


def serve(
    jobs: socket.socket,
    answers: socket.socket,
    claims: Claims,
    modules: Sequence[str],
    set_up: Callable[[], None] | None,
) -> None:
    """Run what comes by `jobs` until that is closed.

    Each answer is written as soon as it is there, so that a child that dies later takes
    none with it. But the parent is woken once for a batch.

    Args:
        jobs: Brings batches, and takes `RING` and `LARGE`.
        answers: Takes an answer for each job.
        claims: What has begun.
        modules: What to import first.
        set_up: Called before that.
    """
    prepare(modules, set_up)
    _Serving(jobs, answers, claims).run()


class _Serving:
    def __init__(
        self, jobs: socket.socket, answers: socket.socket, claims: Claims
    ) -> None:
        self._jobs = jobs
        self._answers = answers
        self._claims = claims
        #: Bytes that the parent may not have read.
        self._unread = 0

    def run(self) -> None:
        try:
            # It is ready.
            self._answer(0, b"")
            self._ring()
            with self._jobs.makefile("rb") as batches:
                while head := batches.read(FRAME.size):
                    length, number = FRAME.unpack(head)
                    batch: list[bytes] = pickle.loads(batches.read(length))  # noqa: S301 - made by our own parent
                    self._run(batch, number)
                    del batch
        except (EOFError, OSError):
            # The parent has no use for it any more.
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
            # It may wait until the parent reads.
            self._jobs.sendall(LARGE)
        self._answers.sendall(FRAME.pack(len(answer), number) + answer)
        if is_large:
            self._ring()

    def _ring(self) -> None:
        self._unread = 0
        self._jobs.sendall(RING)
