"""Which of a child's jobs have begun: its parent and it agree on that in shared memory.

So a job behind another one can be taken back at any moment, also while that one holds
the child's interpreter: the child looks here before it begins a job.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

__all__ = ["Claims"]

#: Seconds that the parent waits for a child that was stopped at the wrong moment.
_PATIENCE = 0.1
_BEGUN, _RECALLED = 0, 1


class Claims:
    """The job that a child has begun last, and those that it must not begin.

    Jobs are numbered in the order in which they are sent.
    """

    def __init__(self, context: SpawnContext) -> None:
        #: The child begins nothing while it is held.
        self._lock: Any = context.Lock()
        #: The last job that has begun; the last of those that were called back.
        self._numbers: Any = context.RawArray("Q", 2)

    def begin(self, number: int) -> bool:
        """Note in the child that a job begins; False if it must not."""
        numbers = self._numbers
        with self._lock:
            if number <= numbers[_RECALLED]:
                return False
            numbers[_BEGUN] = number
        return True

    @property
    def begun(self) -> int:
        """The number of the job that has begun last; 0 before the first."""
        number: int = self._numbers[_BEGUN]
        return number

    def is_recalled(self, number: int) -> bool:
        """Whether a job was called back, or would have been if it had not begun."""
        recalled: int = self._numbers[_RECALLED]
        return number <= recalled

    def recall(self, sent: int) -> int | None:
        """Let no job up to `sent` begin any more.

        Returns:
            The last job that has begun, so that those behind it never will; None if
            the child cannot be asked now.
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
        """Send the child a signal if job `number` is its last; nothing follows it.

        Returns:
            False if the job has not begun; then it was called back.
        """
        begun = self.recall(sent)
        if begun is None:
            begun = self.begun
        if begun < number:
            return False
        if begun == number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal)
        return True
