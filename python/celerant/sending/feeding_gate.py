"""Says how many members of a group may leave now: as many as there is room for.

Room comes as members finish: the barrier counts them, and whoever lets one arrive
wakes the thread that sends, if there is enough of it. Nothing is polled but requests of
other processes, once a second.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celerant.dispatch.interruption import Abandoned
from celerant.dispatch.wires.chunk_limits import NEAR

if TYPE_CHECKING:
    from celerant.canvas.feed_options import FeedOptions
    from celerant.dispatch.feeding import Fed
    from celerant.results.announcing import Announcer, Asked
    from celerant.results.tracking.members import Members
    from celerant.sending.breaker import Breaker

__all__ = ["FeedingGate"]

logger = logging.getLogger("celerant")

#: Room for a group without a window.
_NO_END = 1 << 30
#: A turn begins once this part of the window is free: each takes a connection and
#: wakes a thread.
_PART = 4
#: Seconds to wait before results are watched again that could not be.
_PAUSE = 1.0
#: Seconds between two looks for requests of other processes while nothing leaves.
_LOOK_INTERVAL = 1.0


class FeedingGate:
    """The part of `Feeder` that is a `celerant.dispatch.feeding.Gate`.

    Args:
        members: Of the group.
        options: How many unfinished ones may be in the broker.
        breaker: Says when too many have failed; None: never.
    """

    def __init__(
        self, members: Members, options: FeedOptions, breaker: Breaker | None
    ) -> None:
        self.options = options
        self._members = members
        self._window = window = options.window
        #: Says when too many have failed.
        self.breaker = breaker
        self._portion = 1 if window is None else max(1, window // _PART)
        #: Whether it goes by results.
        self.hears = options.feeds
        #: Set once nothing more is to leave.
        self.stopping = threading.Event()
        self.stopped_by: str | None = None
        #: Not set while it is paused.
        self._open = threading.Event()
        self._open.set()
        #: There may be room.
        self._news = threading.Event()
        #: Held while something leaves.
        self._sending = threading.Lock()
        #: Whether the thread that sends holds it; set by that thread alone.
        self._is_sending = False
        self._is_watched = False
        #: What is sent now.
        self._fed: Fed | None = None
        #: Tells other processes how many have left; None until one is to know.
        self._announcer: Announcer | None = None

    def room(self) -> int:
        """Return how many members may leave now; 0 if too few for a chunk."""
        room = self._room()
        return room if room >= min(self._least, NEAR.members) else 0

    def _room(self) -> int:
        if not self._open.is_set() or self.stopping.is_set():
            return 0
        fed, room = self._fed, _NO_END
        assert fed is not None  # noqa: S101 - set before its thread starts
        if self._window is not None:
            room = self._window - self._out(fed)
        breaker = self.breaker
        if breaker is not None:
            if breaker.trips:
                return 0
            if breaker.is_proving:
                # Who is done in between counts twice, not never.
                out = self._out(fed)
                room = min(room, breaker.canary - out - breaker.done)
        return room

    def _out(self, fed: Fed) -> int:
        """Return how many unfinished members are in the broker."""
        barrier = self._members.barrier
        out = barrier.remaining - fed.ahead
        for each in fed.held:
            # The sender before may have sent one of them: its result may be there.
            pending = barrier.pending(each.start, len(each))
            out -= sum(index < each.stop for index in pending)
        return out

    def wait(self) -> int:
        """Return how many members may leave, once that is worth a turn; 0: stopped."""
        while not self.stopping.is_set():
            self._announce()
            self._news.clear()
            # Cleared first, looked second.
            if self._open.is_set():
                if self._has_tripped():
                    break
                room = self._room()
                if room >= self._least:
                    return room
                if self.stopping.is_set():
                    break
                self._watch()
            self._news.wait(None if self._announcer is None else _LOOK_INTERVAL)
        return 0

    def _hear(self) -> None:
        """Wake the thread if there is enough room; called as members arrive."""
        breaker = self.breaker
        if (
            self._room() >= self._least
            or (breaker is not None and breaker.trips)
            or self._members.error is not None
        ):
            self._news.set()

    @property
    def _least(self) -> int:
        """How much room is worth a turn."""
        breaker = self.breaker
        return 1 if breaker is not None and breaker.is_proving else self._portion

    def _has_tripped(self) -> bool:
        """Stop if too many have failed."""
        breaker = self.breaker
        if breaker is None or not breaker.trips:
            return False
        fed = self._fed
        is_alone = fed is not None and fed.count <= breaker.canary
        self.stopped_by = "canary" if is_alone else "stop_if"
        self.stopping.set()
        return True

    def _watch(self) -> None:
        """Have the members watched: nobody else may be waiting for them.

        Raises:
            CelerantError: Their results will not come.
        """
        members, error = self._members, self._members.error
        if error is not None:
            if error.__cause__ is None:
                raise error
            # The store is away; whoever waits is told by a look of their own.
            logger.warning("feeding group %s waits: %s", members.roster.uuid, error)
            if self.stopping.wait(_PAUSE):
                return
            self._is_watched = False
        if not self._is_watched:
            self._is_watched = True
            members.begin()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Hold back who wants to stop it while something leaves; see `Gate`."""
        announcer = self._announcer
        if announcer is not None:
            # The source may have been slow: it may be paused since the last look.
            self._obey(announcer.look())
        while True:
            self._wait_until_open()
            with self._sending:
                if self.stopping.is_set():
                    raise Abandoned("its feeding was stopped")
                if self._open.is_set():
                    self._is_sending = True
                    try:
                        yield
                    finally:
                        self._is_sending = False
                    break
        self._announce(is_pausing=False)

    def rest(self, seconds: float) -> bool:
        """Wait between two tries; see `Resting`.

        Nothing leaves meanwhile, so whoever pauses it need not wait.
        """
        is_sending = self._is_sending
        if is_sending:
            self._sending.release()
        self.stopping.wait(seconds)
        while True:
            self._wait_until_open()
            if not is_sending:
                break
            self._sending.acquire()
            if self._open.is_set() or self.stopping.is_set():
                break
            self._sending.release()
        return not self.stopping.is_set()

    def _wait_until_open(self) -> None:
        while not self._open.wait(_LOOK_INTERVAL):
            self._announce()

    def _announce(self, *, is_pausing: bool = True) -> None:
        """Tell other processes how many have left, and do what one has asked for."""
        announcer = self._announcer
        if announcer is not None:
            self._obey(announcer.tell(is_pausing=is_pausing))

    def _obey(self, asked: Asked | None) -> None:
        """Do what another process has asked for."""
        if asked is None:
            return
        uuid = self._members.roster.uuid
        logger.info("feeding group %s: another process asks to %s", uuid, asked)
        if asked == "cancel":
            self.stopped_by = self.stopped_by or "cancel"
            self.stopping.set()
            self._open.set()
        elif asked == "pause":
            self._open.clear()
        else:
            self._open.set()
