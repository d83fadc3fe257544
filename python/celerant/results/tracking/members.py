"""The members of a dispatch: what became of them, and who waits for them.

Which thread may do what:

- Any thread may look, wait, and bring members: the one that sends (`grow`, `settle`,
  `seal`), the consumer's, and one that waits (`absorb`, `take`). The value of a member
  and its arrival are one operation of the barrier: of threads that bring the same
  member one does both, and the others neither.
- The call that completes the barrier, and no other, calls `_complete`: it wakes whoever
  waits, has `then` callbacks called and lets the consumer go.
- `then` callbacks are called by the consumer's thread, or by the caller of `when` if
  their time has come already.
- `error` and `is_watched` are set by the consumer's thread. An exception that is made
  of a record is kept under a lock, so that everyone gets the same one.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from celerant._core import Barrier, Roster, monotonic
from celerant.common.per_process import ProcessLock
from celerant.errors import CelerantError
from celerant.results.tracking.callbacks import Callback
from celerant.results.tracking.forms import groups_in, parted, shape_of
from celerant.results.tracking.intake import read
from celerant.results.tracking.nested import Nested
from celerant.results.tracking.outcomes import Outcomes
from celerant.results.tracking.waiters import Waiter, Waiters
from celerant.results.tracking.waiting import refuse_inside_callback

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.source import Source

__all__ = ["Members", "sealed"]

#: For a roster none of whose ids derive from a seed.
_NO_SEED = bytes(16)
#: Held while `Nested` is made, by whoever looks first.
_making = ProcessLock()


class Follower(Protocol):
    """Wants to know which members come in, and by which records."""

    def note(self, indices: Sequence[int], records: Sequence[bytes | None]) -> None:
        """Take note; called by any thread."""


class Members(Outcomes):
    """The states and values of n members, shared by a result and its consumer.

    Args:
        roster: Their ids.
        backend: Where results are stored.
        barrier: Which of them are done; None: they are yet to be sent.
        values: The values of members that have arrived already: they ran in place. A
            failure's is its exception.
        sent_at: When they were sent, seconds since the epoch; None: now.
        losses: The backend's `losses` before the first message left; None: now.
        is_group: Whether they are a group's; else one task, or the steps of a chain.
    """

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_before",
        "_home",
        "_is_watched",
        "_nested",
        "_waiters",
        "callbacks",
        "error",
        "losses",
        "on_complete",
        "pid",
        "ran_here",
        "refuse_waiting",
        "sent_at",
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
        #: Whether it ran in place, so that there may be no records.
        self.ran_here = values is not None
        self._is_watched = False
        #: Why the consumer gave up; raised at the next look, which starts it again.
        self.error: CelerantError | None = None
        #: Called by the consumer's thread.
        self.callbacks: list[Callback] = []
        #: Called once all are done, by the thread that finds it: the consumer's part.
        self.on_complete: Callable[[], object] | None = None
        #: Seconds since the epoch.
        self.sent_at = time.time() if sent_at is None else sent_at
        #: Members that are groups themselves; None until the first look.
        self._nested: Nested | None = None
        #: Of the backend's losses those that are known here.
        self.losses = backend.losses if losses is None else losses
        #: Raises where a wait could not end: what is held is sent after it.
        self.refuse_waiting: Callable[[], None] | None = None
        #: The process that holds what was sent from here.
        self.pid = os.getpid()
        #: The process whose threads wait here.
        self._home = self.pid
        self._waiters = Waiters()
        #: Iterators that want to know which members arrive; gone with their users.
        self._arrivals: set[weakref.ref[Follower]] = set()

    @classmethod
    def of_ids(
        cls, ids: Sequence[str], backend: Source, *, seed: bytes = _NO_SEED
    ) -> Self:
        """Return members that go by these ids, all pending.

        Args:
            ids: One a member.
            backend: Where their results are stored.
            seed: Names what is stored beside the results of a group.
        """
        roster = Roster(seed, len(ids))
        for index, task_id in enumerate(ids):
            roster.adopt(index, task_id)
        return cls(roster, backend, barrier=sealed(len(ids)))

    @classmethod
    def of_forms(cls, forms: Sequence[Any], backend: Source) -> Self:
        """Return the members of a group by their forms, all pending."""
        # A seed of its own: what is stored beside a group's results goes by it.
        ids = [parted(form)[0] for form in forms]
        members = cls.of_ids(ids, backend, seed=uuid.uuid4().bytes)
        members.is_group = True
        for index, form in enumerate(forms):
            _, above, inner = parted(form)
            if above is not None or inner is not None:
                members.roster.place(index, index + 1, shape_of(form))
        return members

    @property
    def nested(self) -> Nested:
        """Members that are groups themselves; found at the first look."""
        if self._nested is None:
            with _making:
                if self._nested is None:
                    self._nested = Nested(self, groups_in(self.roster))
        return self._nested

    # -- being sent ----------------------------------------------------------------

    def grow(self, count: int) -> None:
        """Have `count` members by now, if there are not as many yet."""
        self.barrier.grow(max(0, count - len(self.barrier)))

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
            self.barrier.inherit(before, Barrier.NOT_SENT, 0, size)
        if size > count:
            self.settle(range(count, size), Barrier.NOT_SENT)
        if self.barrier.seal(size) == "completed":
            self._complete()
        elif len(self.waiters) or self.callbacks:
            # Whoever came first waits for all of them.
            self._is_watched = False
            self.begin()

    def send_again(self) -> None:
        """Be sent once more under the same ids; what has arrived stays.

        Those that were never sent are pending again.
        """
        before, barrier = self.barrier, Barrier()
        barrier.grow(len(before))
        barrier.inherit(before, Barrier.NOT_SENT, 0, len(before))
        self._before, self.barrier = before, barrier
        self._is_watched = False
        if self._nested is not None:
            self._nested.renew()

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

    def give_up(self, why: str) -> None:
        """Have `NotSent` for all that are pending: they will not be sent."""
        self.refuse_waiting, self.unsent = None, why
        self.settle(range(len(self.barrier)), Barrier.NOT_SENT)

    def renew(self) -> None:
        """Let those be pending once more that were never sent."""
        self.send_again()
        self.seal(len(self.barrier))

    def adopt(self, sent: Members) -> None:
        """Go on as `sent`, which has the same ids: what was held has been sent."""
        self.send_held(sent.losses)
        self.sent_at, self.ran_here = sent.sent_at, sent.ran_here
        self.roster, self.values = sent.roster, sent.values or self.values
        # What ran in place is nowhere else.
        self._nested = sent._nested if sent.ran_here else None
        self.grow(len(sent.barrier))
        self.barrier.inherit(sent.barrier, Barrier.PENDING, 0, len(sent.barrier))
        self.seal(len(sent.barrier))

    def take_over(self, index: int, sent: Members, at: int) -> None:
        """Go on with one member as a member of `sent`: what was held has been sent."""
        self.sent_at, self.losses = sent.sent_at, sent.losses
        state = sent.barrier.state(at)
        if state != Barrier.PENDING:
            self.ran_here = self.ran_here or sent.ran_here
            self.put(index, state, sent.values[at] if sent.values else None)
        if len(self.waiters) or self.callbacks:
            # What arrived meanwhile, for whoever was there first.
            self.begin()

    # -- arriving ------------------------------------------------------------------

    def put(self, index: int, state: int, value: Any) -> None:
        """Let a member be done with a value, an exception or a failure's record."""
        self.reserve()
        done = self.barrier.put(index, state, self.values, value)
        self._arrived([index], completed=done == "completed")

    def absorb(self, indices: list[int], records: list[bytes | None]) -> None:
        """Let members be done whose record says so, and keep their values.

        Args:
            indices: A member for each record.
            records: As stored; None where there is none.
        """
        self.reserve()
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
        self._waiters.wake(indices, has_failed=has_failed)
        if completed:
            self._complete()
        elif any(entry.index is not None for entry in self.callbacks):
            self._call_back()

    def _complete(self) -> None:
        """All are done: called once in the life of a barrier."""
        self._waiters.wake_all()
        if self.callbacks:
            self._call_back()
        if self.on_complete is not None:
            self.on_complete()

    def _call_back(self) -> None:
        if self.backend.is_calling_back:
            self.call_back()
        else:
            self.backend.consumer.keep(self)

    def call_back(self) -> None:
        """Call those callbacks whose time has come; by the consumer's thread."""
        for entry in tuple(self.callbacks):
            if entry.is_due(self.barrier):
                self.callbacks.remove(entry)
                entry.call()

    # -- waiting -------------------------------------------------------------------

    def wait_for(self, index: int, timeout: float | None) -> bool:
        """Wait until one member is done; False where `timeout` (seconds) passed.

        Args:
            index: The member.
            timeout: 0 looks once, None waits for ever.
        """
        if self.is_done(index):
            return True
        deadline = None if timeout is None else monotonic() + timeout
        event = threading.Event()
        waiter = Waiter(event.set, index)
        is_done = partial(self.is_done, index)
        task_id = self.roster.id(index)
        self.backend.check(self)
        if (
            self.is_watched
            or self.may_have_expired()
            or not self.backend.listen(self, task_id, event.set)
        ):
            self.look(timeout)
            return self._wait_on(is_done, waiter, event, deadline)
        self.error = None
        try:
            take = partial(self.take, index)
            take()
            return self._wait_on(is_done, waiter, event, deadline, take)
        finally:
            self.backend.unlisten(self, task_id, event.set)

    def _wait_on(
        self,
        is_done: Callable[[], bool],
        waiter: Waiter,
        event: threading.Event,
        deadline: float | None,
        look: Callable[[], object] | None = None,
    ) -> bool:
        if not is_done():
            self.backend.tell_obstacle()
        return self._wait(is_done, waiter, event, deadline, look)

    def wait(self, is_done: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until `is_done` holds; False where `deadline` (monotonic) passed.

        Args:
            is_done: The condition: that all are done, that one has failed, or that the
                consumer has swept them.
            deadline: None waits for ever.
        Raises:
            RuntimeError: Inside a `then` callback.
        """
        event = threading.Event()
        return self._wait(is_done, Waiter(event.set), event, deadline)

    def _wait(
        self,
        is_done: Callable[[], bool],
        waiter: Waiter,
        event: threading.Event,
        deadline: float | None,
        look: Callable[[], object] | None = None,
    ) -> bool:
        # Register first, look second: an arrival in between wakes the event.
        self.waiters.add(waiter)
        try:
            while not is_done():
                self.raise_error()
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                refuse_inside_callback(self.backend)
                event.wait(left)
                event.clear()
                if look is not None:
                    look()
            return True
        finally:
            self.waiters.discard(waiter)

    def look(self, timeout: float | None = None) -> bool:
        """Have the members swept once and watched from then on; O(1) afterwards.

        Returns:
            False where `timeout` (seconds, None waits) ended before the sweep.
        """
        if self.barrier.is_complete or self.is_watched:
            return True
        self.backend.check(self)
        # First: the consumer has swept them, too, once it has swept these.
        self.nested.begin()
        return self.backend.consumer.watch(self, timeout)

    def begin(self) -> None:
        """Have the members watched from now on, without waiting for the sweep.

        Raises:
            ForkError: Their results come to another process.
        """
        if not self.barrier.is_complete and not self.is_watched:
            self.backend.check(self)
            self.nested.begin()
            self.backend.consumer.begin(self)

    def when(self, index: int | None, act: Callable[[], None]) -> None:
        """Have `act` called once a member is done, or all; at once if so already."""
        entry = Callback(index, act)
        if entry.is_due(self.barrier):
            entry.call()
            return
        self.backend.check(self)
        self.callbacks.append(entry)
        self.nested.begin()
        # Registered first, looked second, by its thread.
        self.backend.consumer.keep(self)

    def follow(self, arrivals: Follower) -> None:
        """Tell `arrivals` of members that arrive, for as long as somebody holds it."""
        self._move_in()
        self._arrivals.add(weakref.ref(arrivals, self._arrivals.discard))

    # -- the consumer's part -------------------------------------------------------

    @property
    def is_watched(self) -> bool:
        """Whether the consumer serves these members and has swept them once."""
        self._move_in()
        return self._is_watched

    @is_watched.setter
    def is_watched(self, is_watched: bool) -> None:
        self._is_watched = is_watched
        if is_watched:
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
            self._is_watched = False

    def may_have_expired(self) -> bool:
        """Whether a record stored when the members were sent would be gone by now."""
        kept = self.backend.expires
        return bool(kept) and time.time() - self.sent_at > kept

    def fail(self, error: CelerantError) -> None:
        """Tell everyone who waits that the consumer gave up."""
        self.error = error
        self.is_watched = False
        self._waiters.wake_all()

    def raise_error(self) -> None:
        """Raise what made the consumer give up, if it did."""
        if self.error is not None:
            raise self.error


def sealed(count: int) -> Barrier:
    """Return the barrier of so many members that are pending."""
    barrier = Barrier()
    barrier.grow(count)
    barrier.seal(count)
    return barrier
