"""Calls that members cause: of `then`, and of the events of a group."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.common.foreign import is_interrupt
from celerant.results.tracking.coming import Coming

if TYPE_CHECKING:
    from celerant.results.tracking.arriving import Arriving

__all__ = ["Callback", "Each", "Event", "Once", "called"]

logger = logging.getLogger("celerant")


def called(act: Callable[[], object]) -> None:
    """Call it; what it raises is logged, for nobody waits for it."""
    try:
        act()
    except BaseException as exc:
        # `sys.exit()` in a callback ends neither the thread that takes in results
        # nor whoever looks; a Ctrl-C is no callback's.
        if is_interrupt(exc):
            raise
        logger.exception("results: a callback failed")


class Event(ABC):
    """What is called once something has become of members."""

    __slots__ = ()

    #: Whether members that come in one by one matter, or only failures among them.
    hears_all = hears_failures = False

    @abstractmethod
    def is_due(self, members: Arriving) -> bool:
        """Whether its time has come."""

    def is_vain(self, members: Arriving) -> bool:  # noqa: ARG002 - for those that may be
        """Whether its time cannot come any more."""
        return False

    def is_last(self, members: Arriving) -> bool:  # noqa: ARG002 - most are called once
        """Whether this call of it is the last one."""
        return True

    @abstractmethod
    def call(self) -> None:
        """Do it; what it raises is logged."""


class Callback(Event):
    """A call once a member is done, or all: `then`.

    Args:
        index: The member; None: all of them.
        act: What is called.
    """

    __slots__ = ("_act", "_index", "hears_all")

    def __init__(self, index: int | None, act: Callable[[], object]) -> None:
        self._index = index
        self._act = act
        self.hears_all = index is not None

    def is_due(self, members: Arriving) -> bool:
        """Whether what it is about is done."""
        if self._index is None:
            return members.barrier.is_complete
        return members.barrier.state(self._index) != Barrier.PENDING

    def call(self) -> None:
        """Call it."""
        called(self._act)


class Once(Event):
    """A call at one of a group's events.

    Args:
        event: ``"sealed"``, ``"complete"``, ``"success"`` or ``"first_failure"``.
        act: What is called.
    """

    __slots__ = ("_act", "_event", "hears_failures")

    def __init__(self, event: str, act: Callable[[], object]) -> None:
        self._event = event
        self._act = act
        self.hears_failures = event == "first_failure"

    def is_due(self, members: Arriving) -> bool:
        """Whether the event was."""
        barrier = members.barrier
        if self._event == "sealed":
            return barrier.is_sealed
        if self._event == "first_failure":
            return members.failed_member() is not None
        is_complete = barrier.is_complete
        return is_complete and (self._event == "complete" or not members.has_failed())

    def is_vain(self, members: Arriving) -> bool:
        """Whether all are done and the event was not."""
        return members.barrier.is_complete and not self.is_due(members)

    def call(self) -> None:
        """Call it."""
        called(self._act)


class Each(Event):
    """A call for members as they come: for each once, by one thread at a time.

    Args:
        members: Of one dispatch.
        act: Called with the indices of some.
    """

    __slots__ = ("_act", "_coming", "_lock")

    hears_all = True

    def __init__(self, members: Arriving, act: Callable[[list[int]], object]) -> None:
        self._coming = Coming(members)
        self._act = act
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Hear of members from now on."""
        self._coming.begin()

    def is_due(self, members: Arriving) -> bool:  # noqa: ARG002 - it knows them
        """Whether members have come."""
        return self._coming.has_news

    def is_last(self, members: Arriving) -> bool:
        """Whether all are done."""
        return members.barrier.is_complete

    def call(self) -> None:
        """Call it with all that have come."""
        while self._coming.has_news and not self._coming.is_over:
            # Whoever has it looks again, and takes what is here for us, too.
            if not self._lock.acquire(blocking=False):
                return
            try:
                found = self._coming.take()
                if found:
                    called(partial(self._act, found))
            finally:
                self._lock.release()
