"""Callbacks of members: those of `then`, and of the events of a group."""

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
    """Call a callback; its error is logged, because no caller waits for it."""
    try:
        act()
    except BaseException as exc:
        # `sys.exit()` in a callback must not end the thread that calls it, but Ctrl-C
        # is not the callback's own.
        if is_interrupt(exc):
            raise
        logger.exception("results: a callback failed")


class Event(ABC):
    """A callback, and the event of members at which it is called."""

    __slots__ = ("_act",)

    _act: Callable[..., object]
    #: Whether each arrival may bring the event, or each failure.
    hears_all = hears_failures = False

    @abstractmethod
    def is_due(self, members: Arriving) -> bool:
        """Whether it is to be called now."""

    def is_vain(self, members: Arriving) -> bool:  # noqa: ARG002 - subclasses use it
        """Whether its event cannot happen any more."""
        return False

    def is_last(self, members: Arriving) -> bool:  # noqa: ARG002 - subclasses use it
        """Whether the next call is the last."""
        return True

    def call(self) -> None:
        """Call the callback; its error is logged."""
        called(self._act)


class Callback(Event):
    """A callback of `then`: called once one member is done, or all are.

    Args:
        index: The member; None for all.
        act: The function to call.
    """

    __slots__ = ("_index", "hears_all")

    def __init__(self, index: int | None, act: Callable[[], object]) -> None:
        self._index = index
        self._act = act
        self.hears_all = index is not None

    def is_due(self, members: Arriving) -> bool:
        """Whether the member is done, or all are."""
        if self._index is None:
            return members.barrier.is_complete
        return members.barrier.state(self._index) != Barrier.PENDING


class Once(Event):
    """A callback of one of a group's events.

    Args:
        event: ``"sealed"``, ``"complete"``, ``"success"`` or ``"first_failure"``.
        act: The function to call.
    """

    __slots__ = ("_event", "hears_failures")

    def __init__(self, event: str, act: Callable[[], object]) -> None:
        self._event = event
        self._act = act
        self.hears_failures = event == "first_failure"

    def is_due(self, members: Arriving) -> bool:
        """Whether the event has happened."""
        barrier = members.barrier
        if self._event == "sealed":
            return barrier.is_sealed
        if self._event == "first_failure":
            return members.failed_member() is not None
        is_complete = barrier.is_complete
        return is_complete and (self._event == "complete" or not members.has_failed())

    def is_vain(self, members: Arriving) -> bool:
        """Whether all members are done and the event has not happened."""
        return members.barrier.is_complete and not self.is_due(members)


class Each(Event):
    """A callback of arrivals: called once for each member, by one thread at a time.

    Args:
        members: The members of one dispatch.
        act: Called with the indices of members that have arrived.
    """

    __slots__ = ("_coming", "_lock")

    hears_all = True

    def __init__(self, members: Arriving, act: Callable[[list[int]], object]) -> None:
        self._coming = Coming(members)
        self._act = act
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Begin to follow the members."""
        self._coming.begin()

    def is_due(self, members: Arriving) -> bool:  # noqa: ARG002 - the same members
        """Whether members have arrived."""
        return self._coming.has_news

    def is_last(self, members: Arriving) -> bool:
        """Whether all members are done."""
        return members.barrier.is_complete

    def call(self) -> None:
        """Call the callback with all members that have arrived."""
        while self._coming.has_news and not self._coming.is_over:
            # The thread that has the lock checks again, and takes our members too.
            if not self._lock.acquire(blocking=False):
                return
            try:
                found = self._coming.take()
                if found:
                    called(partial(self._act, found))
            finally:
                self._lock.release()
