"""Shared memory in which a child and its parent agree on the jobs that have begun.

The child looks there before it begins a job. So the parent can take back a waiting job
at any moment, even while a running one holds the child's interpreter.
"""

from __future__ import annotations

import contextlib
import os
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

from celerant.worker.sigterm import MeantEnd

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

__all__ = ["Claims"]

#: Seconds that the parent waits for the lock. A child that was stopped by a signal may
#: hold it.
_PATIENCE = 0.1
_BEGUN, _RECALLED = 0, 1


class Claims:
    """The last job that a child has begun, and the last that it must not begin.

    Jobs are numbered in the order in which they are sent.
    """

    def __init__(self, context: SpawnContext) -> None:
        #: The child begins no job while the parent holds it.
        self._lock: Any = context.Lock()
        #: The numbers of the last begun job and of the last recalled one.
        self._numbers: Any = context.RawArray("Q", 2)
        #: Tells the parent's SIGTERM from that of others.
        self.meant_end = MeantEnd(context)

    def begin(self, number: int) -> bool:
        """Note in the child that a job begins; return False if it must not."""
        numbers = self._numbers
        with self._lock:
            if number <= numbers[_RECALLED]:
                return False
            numbers[_BEGUN] = number
        return True

    @property
    def begun(self) -> int:
        """The number of the last job that has begun; 0 before the first."""
        number: int = self._numbers[_BEGUN]
        return number

    def is_recalled(self, number: int) -> bool:
        """Whether a job must not begin any more, if it has not begun."""
        recalled: int = self._numbers[_RECALLED]
        return number <= recalled

    def recall(self, sent: int) -> int | None:
        """Let no job up to `sent` begin any more.

        Returns:
            The number of the last job that has begun; later ones never begin. None if
            the child holds the lock and does not let go.
        """
        if not self._lock.acquire(timeout=_PATIENCE):
            return None
        try:
            if not self.is_recalled(sent):
                self._numbers[_RECALLED] = sent
            return self.begun
        finally:
            self._lock.release()

    def signal(self, number: int, sent: int, pid: int, signal: int) -> bool:
        """Send the child a signal if it runs job `number`; it begins no other job.

        Returns:
            False if the job has not begun; it is recalled then.
        """
        begun = self.recall(sent)
        if begun is None:
            begun = self.begun
        if begun < number:
            return False
        if begun == number:
            if signal == SIGTERM:
                self.meant_end.mean()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal)
        return True
