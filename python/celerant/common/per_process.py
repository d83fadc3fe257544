"""State that a process makes for itself, and its forked child makes anew.

The process's number is compared at each use: no at-fork hook of Python runs in a child
that C code forks, as uWSGI does by default.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from celerant.common.abandoned import abandon

__all__ = ["PerProcess"]

T = TypeVar("T")

#: Locks by the child's number, held while it makes its own state: a thread of the
#: parent may hold any lock from before the fork.
_making: dict[int, Any] = {}


class PerProcess(Generic[T]):
    """A value that no two processes share.

    A lock is held by ``with lock.get():``. A class around it, with methods of its own
    for `with`, would leave it locked if a signal interrupted one of them.

    Args:
        make: Makes a value.
        leave: Called in a child with the value that its parent goes on using.
    """

    __slots__ = ("_kept", "_leave", "_make")

    def __init__(
        self, make: Callable[[], T], leave: Callable[[T], None] = abandon
    ) -> None:
        self._make = make
        self._leave = leave
        self._kept = os.getpid(), make()

    def get(self) -> T:
        """Return this process's value."""
        return self.get_with_pid()[1]

    def get_with_pid(self) -> tuple[int, T]:
        """Return this process's number and its value."""
        kept = self._kept
        pid = os.getpid()
        return kept if kept[0] == pid else self._renew(pid)

    def _renew(self, pid: int) -> tuple[int, T]:
        with _making.setdefault(pid, threading.RLock()):
            kept = self._kept
            if kept[0] != pid:
                self._kept = pid, self._make()
                self._leave(kept[1])
            return self._kept
