"""Members while they are sent and arrive, and the calls that this causes."""

from __future__ import annotations

import os
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.errors import CelerantError, ForkError
from celerant.results.tracking.callbacks import Event
from celerant.results.tracking.intake import read
from celerant.results.tracking.member_values import MemberValues
from celerant.results.tracking.pace import Pace
from celerant.results.tracking.waiters import Follower, Waiters

if TYPE_CHECKING:
    from celerant.results.tracking.forgetting import Forgetting
    from celerant.results.tracking.member_backend import MemberBackend
    from celerant.results.tracking.nested import Nested
    from celerant.results.tracking.sampling import Sampling

__all__ = ["Arriving"]


class Arriving(MemberValues):
    """The part of `Members` that takes states and values in.

    The module of `Members` says which thread may do what.
    """

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_before",
        "_but",
        "_forgetting",
        "_home",
        "_kept",
        "_nested",
        "_sampling",
        "_stale",
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
        "unqueued",
    )

    def __init__(  # noqa: PLR0913 - what a dispatch leaves behind
        self,
        roster: Roster,
        backend: MemberBackend,
        *,
        barrier: Barrier | None = None,
        values: list[Any] | None = None,
        sent_at: float | None = None,
        losses: int | None = None,
        is_group: bool = False,
    ) -> None:
        # Not `or`: an empty barrier is false.
        known = Barrier() if barrier is None else barrier
        super().__init__(roster, known, backend, values, is_group=is_group)
        #: The barrier before the members were sent again, until they are sealed.
        self._before: Barrier | None = None
        #: Ranges of the members that are not sent again.
        self._kept: list[tuple[int, int]] = []
        #: Members of these ranges that were in this state are sent again too.
        self._but: int = Barrier.NOT_SENT
        #: Whether the members ran in place, so that the store may have no records.
        self.ran_here = values is not None
        #: The roster and barrier that the consumer serves and has swept once. Members
        #: that are sent again get others.
        self._watched: tuple[Roster, Barrier] | None = None
        #: Why the consumer gave up. The next wait raises it, and the next look starts
        #: the consumer again.
        self.error: CelerantError | None = None
        #: The callbacks that are still to be called.
        self.callbacks: list[Event] = []
        #: Called once all members are done; set by the consumer.
        self.on_complete: Callable[[], object] | None = None
        #: Called when there are more members; set by the consumer, called by the thread
        #: that sends.
        self.on_growth: Callable[[], object] | None = None
        #: When the last members were sent, and the first: seconds since the epoch.
        self.sent_at = time.time() if sent_at is None else sent_at
        self.sent_since = self.sent_at
        #: How fast members arrive; None until they are watched, and for a single task.
        self.pace: Pace | None = None
        #: Finds states by samples; None until the first estimate.
        self._sampling: Sampling | None = None
        #: Members that are groups themselves; None until the first look.
        self._nested: Nested | None = None
        #: The records of failures whose members were sent again since, by member: one
        #: may be on its way still.
        self._stale: dict[int, bytes] = {}
        #: The backend's `losses` that these members have taken into account.
        self.losses = backend.losses if losses is None else losses
        #: Running members, which a cancelled group still waits for; None if the group
        #: is not cancelled.
        self.cancelled_but: frozenset[int] | None = None
        #: Whether workers were told not to run its tasks, by the tasks' ids.
        self.is_barred = False
        #: Raises if a wait could not end, because the members are sent only after it;
        #: None if they are not held.
        self.refuse_waiting: Callable[[], None] | None = None
        #: The process that sent the members.
        self.pid = os.getpid()
        #: The process whose threads wait here.
        self._home = self.pid
        self._waiters = Waiters()
        #: Told of members that arrive, for as long as users hold them.
        self._arrivals: set[weakref.ref[Follower]] = set()
        #: What deletes used results, for as long as users hold it.
        self._forgetting: weakref.WeakSet[Forgetting] = weakref.WeakSet()
        #: Cancelled members whose messages a worker has dropped, and whose records were
        #: deleted since, because they were used.
        self.unqueued: set[int] = set()

    @property
    def is_watched(self) -> bool:
        """Whether the consumer serves these members and has swept them once.

        Members that are added later are served too.
        """
        self._move_in()
        watched = self._watched
        return (
            watched is not None
            and watched[0] is self.roster
            and watched[1] is self.barrier
        )

    def be_watched(self, roster: Roster, barrier: Barrier) -> None:
        """Note that the consumer serves members with these ids and has swept them."""
        self._watched = roster, barrier
        if self.is_group and self.pace is None:
            self.pace = Pace(barrier.arrived)
        self._waiters.wake_for_news()

    @property
    def waiters(self) -> Waiters:
        """The waiters of this process."""
        self._move_in()
        return self._waiters

    def _move_in(self) -> None:
        """In a forked child, drop the waiters, which are its parent's."""
        pid = os.getpid()
        if self._home != pid:
            self._home = pid
            self._waiters = Waiters()
            self._arrivals = set()
            self._watched = None

    def fail(self, error: CelerantError) -> None:
        """Wake all waiters, which raise `error`: the consumer gave up."""
        self.error = error
        self._watched = None
        self._waiters.wake_all()

    def follow(self, arrivals: Follower) -> None:
        """Tell `arrivals` of members that arrive, for as long as a user holds it."""
        self._move_in()
        self._arrivals.add(weakref.ref(arrivals, self._arrivals.discard))

    def heed(self, forgetting: Forgetting) -> None:
        """Tell `forgetting` of members that are sent once more."""
        self._forgetting.add(forgetting)

    def check_waiting(self) -> None:
        """Raise if a wait could not end.

        Raises:
            CelerantError: The members are sent only after it.
            ForkError: As by `check_process`.
        """
        if self.refuse_waiting is not None:
            self.refuse_waiting()
        self.check_process()

    def check_process(self) -> None:
        """Raise if nobody tells this process of members that are still being sent.

        Raises:
            ForkError: The process of which this is a child sends them.
        """
        is_open = not self.barrier.is_sealed and self.growth is None
        if is_open and self.pid != os.getpid():
            msg = (
                f"this group is being sent by process {self.pid}, of which this is a "
                "forked child: give it `result.handle`, and wait by `attach(handle)`"
            )
            raise ForkError(msg, created_in_pid=self.pid)

    @abstractmethod
    def begin(self) -> None:
        """Let the consumer serve the members from now on."""

    @abstractmethod
    def keep(self) -> None:
        """Let the consumer serve the members until all callbacks were called."""

    # -- being sent ----------------------------------------------------------------

    def grow(self, count: int) -> None:
        """Have at least `count` members."""
        more = count - len(self.barrier)
        if more > 0:
            self.barrier.grow(more)
            # A long dispatch is as old as its last members, not as its first.
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
        """End members by a state that no record tells."""
        completed = False
        if isinstance(indices, range):
            start, stop = indices.start, indices.stop
            completed = self.barrier.arrive_range(start, stop, state)
        else:
            for index in indices:
                completed |= self.barrier.arrive(index, state) == "completed"
        self._arrived(indices, completed=completed)

    def seal(self, count: int) -> None:
        """Have no more members; those past `count` were not read and are not sent.

        Whoever is interrupted can call again.
        """
        self.grow(count)
        size, before = len(self.barrier), self._before
        self._before = None
        if before is not None:
            # Some members may have arrived while the new barrier was made.
            self._inherit(before, self.barrier)
        if size > count:
            self.settle(range(count, size), Barrier.NOT_SENT)
        if self.barrier.is_sealed:
            is_complete = self.barrier.is_complete
        else:
            is_complete = self.barrier.seal(size) == "completed"
        if is_complete:
            self._complete()
            return
        self._note_growth()
        self.waiters.wake_for_news()
        if len(self.waiters) or self.callbacks:
            # Members that were held or sent again are not served before this.
            try:
                self.begin()
                if self.callbacks:
                    self._call_back()
            except CelerantError as exc:
                # The members have left, so the waiters get the error, not the sender.
                self.fail(exc)

    # -- arriving ------------------------------------------------------------------

    def put(self, index: int, state: int, value: Any) -> None:
        """End a member with a value, an exception or a failure's record."""
        done = self.barrier.put(index, state, self.values, value)
        self._arrived([index], completed=done == "completed")

    def absorb(self, indices: list[int], records: list[bytes | None]) -> None:
        """End the members whose records say so, and keep their values.

        Args:
            indices: The member of each record.
            records: Records as stored; None for a member without one.
        """
        if self._stale:
            records = [
                None
                if record is not None and record == self._stale.get(index)
                else record
                for index, record in zip(indices, records, strict=True)
            ]
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
        """Read a member's record, absorb it, and return it; for a waiting thread."""
        records = self.backend.fetch([self.roster.id(index)])
        self.absorb([index], records)
        return records[0]

    def fail_early(self, index: int) -> None:
        """Note that a pending member will fail; wakes those that wait for failures."""
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
        """Tell followers, waiters and callbacks of members that came in."""
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
        """Call callbacks that hear of members before all are done."""
        if self.callbacks and any(
            entry.hears_all or (has_failed and entry.hears_failures)
            for entry in tuple(self.callbacks)
        ):
            self._call_back()

    def _complete(self) -> None:
        """Tell all that the members are done; called once for each barrier."""
        self._waiters.wake_all()
        if self.callbacks:
            self._call_back()
        if self.on_complete is not None:
            self.on_complete()

    def _call_back(self) -> None:
        act = self.call_back if self.backend.is_calling_back else self.keep
        act()

    def call_back(self) -> None:
        """Call the callbacks that are due."""
        for entry in tuple(self.callbacks):
            if entry.is_vain(self):
                self.drop(entry)
            elif entry.is_due(self) and (not entry.is_last(self) or self.drop(entry)):
                # The thread that removes an entry makes its last call.
                entry.call()

    def drop(self, entry: Event) -> bool:
        """Remove a callback; return whether it was still there."""
        with suppress(ValueError):
            self.callbacks.remove(entry)
            return True
        return False
