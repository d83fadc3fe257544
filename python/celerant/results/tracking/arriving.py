"""Members as they are sent and as they arrive, and whoever is told of it."""

from __future__ import annotations

import os
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.errors import CelerantError
from celerant.results.tracking.callbacks import Event
from celerant.results.tracking.intake import read
from celerant.results.tracking.outcomes import Outcomes
from celerant.results.tracking.pace import Pace
from celerant.results.tracking.waiters import Follower, Waiters

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.nested import Nested
    from celerant.results.tracking.sampling import Sampling
    from celerant.results.tracking.source import Source

__all__ = ["Arriving"]


class Arriving(Outcomes):
    """What `Members` are, but for waiting: there it says which thread may do what."""

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_before",
        "_but",
        "_home",
        "_kept",
        "_nested",
        "_sampling",
        "_waiters",
        "_watched",
        "callbacks",
        "cancelled_but",
        "error",
        "is_barred",
        "losses",
        "on_complete",
        "on_growth",
        "pace",
        "pid",
        "ran_here",
        "refuse_waiting",
        "sent_at",
        "sent_since",
    )

    def __init__(  # noqa: PLR0913 - what a dispatch leaves behind
        self,
        roster: Roster,
        backend: Source,
        *,
        barrier: Barrier | None = None,
        values: list[Any] | None = None,
        sent_at: float | None = None,
        losses: int | None = None,
        is_group: bool = False,
    ) -> None:
        # An empty one is false.
        known = Barrier() if barrier is None else barrier
        super().__init__(roster, known, backend, values, is_group=is_group)
        #: While they are sent once more: what was known of them before.
        self._before: Barrier | None = None
        #: Ranges of those that are not sent again.
        self._kept: list[tuple[int, int]] = []
        #: But for those that were in this state.
        self._but: int = Barrier.NOT_SENT
        #: Whether it ran in place, so that there may be no records.
        self.ran_here = values is not None
        #: What the consumer serves and has swept once: of members sent again, not them.
        self._watched: tuple[Roster, Barrier] | None = None
        #: Why the consumer gave up; raised at the next look, which starts it again.
        self.error: CelerantError | None = None
        #: Called by the consumer's thread.
        self.callbacks: list[Event] = []
        #: Called once all are done, by the thread that finds it: the consumer's part.
        self.on_complete: Callable[[], object] | None = None
        #: Called when more have come, by the thread that sends; the consumer's too.
        self.on_growth: Callable[[], object] | None = None
        #: Seconds since the epoch: of the last ones, and of the first.
        self.sent_at = time.time() if sent_at is None else sent_at
        self.sent_since = self.sent_at
        #: How fast they come in; None: nobody watches them yet, or there is one.
        self.pace: Pace | None = None
        #: What was found of them by chance; None: nobody asked.
        self._sampling: Sampling | None = None
        #: Members that are groups themselves; None until the first look.
        self._nested: Nested | None = None
        #: Of the backend's losses those that are known here.
        self.losses = backend.losses if losses is None else losses
        #: Members that a cancelled group still waits for: they run. None: of a group
        #: that is not cancelled.
        self.cancelled_but: frozenset[int] | None = None
        #: Whether workers know of its tasks, by their ids, that they shall not run.
        self.is_barred = False
        #: Raises where a wait could not end: what is held is sent after it.
        self.refuse_waiting: Callable[[], None] | None = None
        #: The process that holds what was sent from here.
        self.pid = os.getpid()
        #: The process whose threads wait here.
        self._home = self.pid
        self._waiters = Waiters()
        #: Iterators that want to know which members arrive; gone with their users.
        self._arrivals: set[weakref.ref[Follower]] = set()

    @property
    def is_watched(self) -> bool:
        """Whether the consumer serves these members and has swept them once.

        Those that come from then on are served too.
        """
        self._move_in()
        watched = self._watched
        return (
            watched is not None
            and watched[0] is self.roster
            and watched[1] is self.barrier
        )

    def be_watched(self, roster: Roster, barrier: Barrier) -> None:
        """Hear that the consumer serves members of these ids, and has swept them."""
        self._watched = roster, barrier
        if self.is_group and self.pace is None:
            self.pace = Pace(barrier.arrived)
        self._waiters.wake_for_news()

    @property
    def waiters(self) -> Waiters:
        """Who waits in this process."""
        self._move_in()
        return self._waiters

    def _move_in(self) -> None:
        """Drop in a forked child the threads that wait in its parent."""
        pid = os.getpid()
        if self._home != pid:
            self._home = pid
            self._waiters = Waiters()
            self._arrivals = set()
            self._watched = None

    def fail(self, error: CelerantError) -> None:
        """Tell everyone who waits that the consumer gave up."""
        self.error = error
        self._watched = None
        self._waiters.wake_all()

    def follow(self, arrivals: Follower) -> None:
        """Tell `arrivals` of members that arrive, for as long as somebody holds it."""
        self._move_in()
        self._arrivals.add(weakref.ref(arrivals, self._arrivals.discard))

    @abstractmethod
    def begin(self) -> None:
        """Have the members watched from now on."""

    @abstractmethod
    def keep(self) -> None:
        """Have the consumer call back, and serve the members until it has."""

    # -- being sent ----------------------------------------------------------------

    def grow(self, count: int) -> None:
        """Have `count` members by now, if there are not as many yet."""
        more = count - len(self.barrier)
        if more > 0:
            self.barrier.grow(more)
            # A long dispatch must not look as old as its beginning.
            self.sent_at = time.time()
            self._note_growth()

    def _inherit(self, before: Barrier, barrier: Barrier) -> None:
        for start, stop in self._kept:
            barrier.inherit(before, self._but, start, stop)

    def _note_growth(self) -> None:
        note = self.on_growth
        if note is not None:
            note()

    def settle(self, indices: Sequence[int], state: int) -> None:
        """Let members be done of which no record tells."""
        completed = False
        if isinstance(indices, range):
            start, stop = indices.start, indices.stop
            completed = self.barrier.arrive_range(start, stop, state)
        else:
            for index in indices:
                completed |= self.barrier.arrive(index, state) == "completed"
        self._arrived(indices, completed=completed)

    def seal(self, count: int) -> None:
        """Have no more members: those past `count`, which nobody read, are unsent."""
        self.grow(count)
        size, before = len(self.barrier), self._before
        self._before = None
        if before is not None:
            # What came while the new barrier was made.
            self._inherit(before, self.barrier)
        if size > count:
            self.settle(range(count, size), Barrier.NOT_SENT)
        if self.barrier.seal(size) == "completed":
            self._complete()
            return
        self._note_growth()
        self.waiters.wake_for_news()
        if len(self.waiters) or self.callbacks:
            # Nobody serves those that were sent again, or held: not before this.
            try:
                self.begin()
                if self.callbacks:
                    self._call_back()
            except CelerantError as exc:
                # The members have left: that is told to those that wait for them.
                self.fail(exc)

    def send_again(self) -> None:
        """Be sent once more under the same ids; what has arrived stays.

        Those that were never sent are pending again.
        """
        self.cut_short = self.cancelled_but = None
        self._renew([(0, len(self.barrier))], Barrier.NOT_SENT)

    def _renew(self, kept: list[tuple[int, int]], but: int) -> None:
        """Have another barrier.

        Args:
            kept: Ranges of members that stay as they are.
            but: Those among them in this state are pending again.
        """
        before, barrier = self.barrier, Barrier()
        barrier.grow(len(before))
        self._kept, self._but = kept, but
        self._inherit(before, barrier)
        self._before, self.barrier = before, barrier
        if self._nested is not None:
            self._nested.renew()
        # Whoever waits for them hears of them while they are sent.
        self._note_growth()

    def send_held(self, losses: int) -> None:
        """Be sent after all; `losses` are the backend's before the first message."""
        self.sent_at, self.losses = time.time(), losses
        # What chains leave behind is known once they are read.
        self._nested = None
        self.send_again()

    def abandon(self) -> None:
        """Be as before `send_again`, if that came first: nothing has left."""
        if self._before is not None:
            barrier, self.barrier, self._before = self.barrier, self._before, None
            if self.barrier.inherit(barrier, Barrier.NOT_SENT, 0, len(self.barrier)):
                self._complete()
            self._note_growth()

    def give_up(self, why: str) -> None:
        """Have `NotSent` for all that are pending: they will not be sent."""
        self.refuse_waiting, self.unsent = None, why
        all_of_them = range(len(self.barrier))
        done = self.barrier.arrive_range(0, len(all_of_them), Barrier.NOT_SENT)
        # Here: a finalizer calls this under any lock, also the consumer's.
        self.call_back()
        self._arrived(all_of_them, completed=done)

    def renew(self) -> None:
        """Let those be pending once more that were never sent."""
        self.send_again()
        self.seal(len(self.barrier))

    def adopt(self, sent: Self) -> None:
        """Go on as `sent`, which has the same ids: what was held has been sent."""
        self.send_held(sent.losses)
        self.ran_here = sent.ran_here
        self.roster, self.values = sent.roster, sent.values or self.values
        # What ran in place is nowhere else.
        self._nested = sent._nested if sent.ran_here else None
        self.grow(len(sent.barrier))
        self.sent_at = sent.sent_at
        self.barrier.inherit(sent.barrier, Barrier.PENDING, 0, len(sent.barrier))
        self.seal(len(sent.barrier))

    def take_over(self, index: int, sent: Self, at: int) -> None:
        """Go on with one member as a member of `sent`: what was held has been sent."""
        self.sent_at, self.losses = sent.sent_at, sent.losses
        state = sent.barrier.state(at)
        if state != Barrier.PENDING:
            self.ran_here = self.ran_here or sent.ran_here
            self.put(index, state, sent.values.get(at))
        if len(self.waiters) or self.callbacks:
            # What arrived meanwhile, for whoever was there first.
            self.begin()

    # -- arriving ------------------------------------------------------------------

    def put(self, index: int, state: int, value: Any) -> None:
        """Let a member be done with a value, an exception or a failure's record."""
        done = self.barrier.put(index, state, self.values, value)
        self._arrived([index], completed=done == "completed")

    def absorb(self, indices: list[int], records: list[bytes | None]) -> None:
        """Let members be done whose record says so, and keep their values.

        Args:
            indices: A member for each record.
            records: As stored; None where there is none.
        """
        barrier, values = self.barrier, self.values
        completed, failed, deferred = barrier.absorb(indices, records, values)
        for position in deferred:
            index = indices[position]
            found = read(self.backend, self.roster.id(index), records[position])
            if found is not None:
                state, kept = found
                done = barrier.put(index, state, values, kept)
                completed |= done == "completed"
                failed = failed if state == Barrier.SUCCESS else index
        has_failed = failed is not None
        self._arrived(indices, records, completed=completed, has_failed=has_failed)

    def take(self, index: int) -> bytes | None:
        """Read a member's record and take it in, before the consumer; return it."""
        records = self.backend.fetch([self.roster.id(index)])
        self.absorb([index], records)
        return records[0]

    def fail_early(self, index: int) -> None:
        """Have a member that will fail, for whoever waits for a failure."""
        self.barrier.fail_early(index)
        self._waiters.wake_for_news()
        self._tell_callbacks(has_failed=True)

    def _arrived(
        self,
        indices: Sequence[int],
        records: Sequence[bytes | None] = (),
        *,
        completed: bool,
        has_failed: bool = True,
    ) -> None:
        """Tell whoever wants to know of members that came in, by these records."""
        for reference in tuple(self._arrivals):
            arrivals = reference()
            if arrivals is not None:
                arrivals.note(indices, records)
        if self.pace is not None:
            self.pace.note(self.barrier.arrived)
        if completed:
            self._complete()
        else:
            self._waiters.wake(indices, has_failed=has_failed)
            self._tell_callbacks(has_failed=has_failed)

    def _tell_callbacks(self, *, has_failed: bool) -> None:
        """Have those called that hear of members before all are done."""
        if self.callbacks and any(
            entry.hears_all or (has_failed and entry.hears_failures)
            for entry in tuple(self.callbacks)
        ):
            self._call_back()

    def _complete(self) -> None:
        """All are done: called once in the life of a barrier."""
        self._waiters.wake_all()
        if self.callbacks:
            self._call_back()
        if self.on_complete is not None:
            self.on_complete()

    def _call_back(self) -> None:
        act = self.call_back if self.backend.is_calling_back else self.keep
        act()

    def call_back(self) -> None:
        """Call those callbacks whose time has come."""
        for entry in tuple(self.callbacks):
            if entry.is_vain(self):
                self.drop(entry)
            elif entry.is_due(self) and (not entry.is_last(self) or self.drop(entry)):
                # Whoever takes it out calls it the last time.
                entry.call()

    def drop(self, entry: Event) -> bool:
        """Call it no more; return whether it was still to be called."""
        with suppress(ValueError):
            self.callbacks.remove(entry)
            return True
        return False
