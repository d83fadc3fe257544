"""The members of a dispatch: what became of them, and who waits for them."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from celerant._core import Barrier, Roster, monotonic
from celerant.common.foreign import is_interrupt
from celerant.common.per_process import ProcessLock
from celerant.errors import CelerantError
from celerant.results.tracking.forms import groups_in, parted, shape_of
from celerant.results.tracking.intake import absorb
from celerant.results.tracking.nested import Nested
from celerant.results.tracking.outcomes import Outcomes
from celerant.results.tracking.waiters import Waiter, Waiters
from celerant.results.tracking.waiting import refuse_inside_callback

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.source import Source

__all__ = ["Members", "run_logged", "sealed"]

logger = logging.getLogger("celerant")

#: For a roster none of whose ids derive from a seed.
_NO_SEED = bytes(16)
#: Held while `Nested` is made, by whoever looks first.
_making = ProcessLock()


class Follower(Protocol):
    """Wants to know which members come in, and by which records."""

    def note(self, indices: Sequence[int], records: Sequence[bytes | None]) -> None:
        """Take note; called by the consumer's thread."""


class Members(Outcomes):
    """The states and values of n members, shared by a result and its consumer.

    The consumer's thread alone writes values and lets members arrive from records;
    everyone else reads. A value is in its slot before its member arrives.

    Args:
        roster: Their ids.
        barrier: Which of them are done.
        backend: Where results are stored.
        values: The values of members that have arrived already: they ran in place. A
            failure's is its exception.
        sent_at: When they were sent, seconds since the epoch; None: now.
        losses: The backend's `losses` before the first message left; None: now.
        is_group: Whether they are a group's; else one task, or the steps of a chain.
    """

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_home",
        "_is_watched",
        "_nested",
        "_waiters",
        "callbacks",
        "error",
        "losses",
        "pid",
        "ran_here",
        "refuse_waiting",
        "sent_at",
    )

    def __init__(  # noqa: PLR0913 - what a dispatch leaves behind
        self,
        roster: Roster,
        barrier: Barrier,
        backend: Source,
        *,
        values: list[Any] | None = None,
        sent_at: float | None = None,
        losses: int | None = None,
        is_group: bool = False,
    ) -> None:
        super().__init__(roster, barrier, backend, values, is_group=is_group)
        #: Whether it ran in place, so that there may be no records.
        self.ran_here = values is not None
        self._is_watched = False
        #: Why the consumer gave up; raised at the next look, which starts it again.
        self.error: CelerantError | None = None
        #: (condition, call): called once by the consumer's thread when it holds.
        self.callbacks: list[tuple[Callable[[], bool], Callable[[], None]]] = []
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
        return cls(roster, sealed(len(ids)), backend)

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
        waiter = Waiter(partial(self.is_done, index), event.set, index)
        task_id = self.roster.id(index)
        self.backend.check(self)
        if (
            self.is_watched
            or self.may_have_expired()
            or not self.backend.listen(self, task_id, event.set)
        ):
            self.look(timeout)
            return self._wait_on(waiter, event, deadline)
        self.error = None
        try:
            take = partial(self.take, index)
            take()
            return self._wait_on(waiter, event, deadline, take)
        finally:
            self.backend.unlisten(self, task_id, event.set)

    @property
    def is_watched(self) -> bool:
        """Whether the consumer serves these members and has swept them once."""
        self._move_in()
        return self._is_watched

    @is_watched.setter
    def is_watched(self, is_watched: bool) -> None:
        self._is_watched = is_watched

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

    def take(self, index: int) -> bytes | None:
        """Read a member's record and take it in, before the consumer; return it.

        The consumer, where there is one, is told of it too and wakes who waits.
        """
        records = self.backend.fetch([self.roster.id(index)])
        absorb(self.backend, self, [index], records)
        return records[0]

    def _wait_on(
        self,
        waiter: Waiter,
        event: threading.Event,
        deadline: float | None,
        look: Callable[[], object] | None = None,
    ) -> bool:
        if not waiter.is_done():
            self.backend.tell_obstacle()
        return self._wait(waiter, event, deadline, look)

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

    def when(self, is_done: Callable[[], bool], call: Callable[[], None]) -> None:
        """Have `call` called once `is_done` holds, at once where it does already."""
        if is_done():
            run_logged(call)
            return
        self.backend.check(self)
        self.callbacks.append((is_done, call))
        self.nested.begin()
        self.backend.consumer.keep(self)

    def wait(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        index: int | None = None,
    ) -> bool:
        """Wait until `is_done` holds; False where `deadline` (monotonic) passed.

        Args:
            is_done: The condition.
            deadline: None waits for ever.
            index: The one member that it asks about, if so.
        Raises:
            RuntimeError: Inside a `then` callback.
        """
        event = threading.Event()
        return self._wait(Waiter(is_done, event.set, index), event, deadline)

    def _wait(
        self,
        waiter: Waiter,
        event: threading.Event,
        deadline: float | None,
        look: Callable[[], object] | None = None,
    ) -> bool:
        # Register first, look second: an arrival in between wakes the event.
        self.waiters.add(waiter)
        try:
            while not waiter.is_done():
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

    def notify(self, indices: Sequence[int] | None = None) -> None:
        """Wake and call those whose condition holds.

        Args:
            indices: The members that arrived; None: any may have.
        """
        self._waiters.wake(indices)
        for entry in tuple(self.callbacks):
            is_done, call = entry
            if is_done():
                self.callbacks.remove(entry)
                run_logged(call)

    def follow(self, arrivals: Follower) -> None:
        """Tell `arrivals` of members that arrive, for as long as somebody holds it."""
        self._move_in()
        self._arrivals.add(weakref.ref(arrivals, self._arrivals.discard))

    def note(
        self, indices: Sequence[int], records: Sequence[bytes | None] = ()
    ) -> None:
        """Tell those who follow that these members came in, by these records."""
        for reference in tuple(self._arrivals):
            arrivals = reference()
            if arrivals is not None:
                arrivals.note(indices, records)

    def fail(self, error: CelerantError) -> None:
        """Tell everyone who waits that the consumer gave up."""
        self.error = error
        self.is_watched = False
        self._waiters.wake_all()

    def raise_error(self) -> None:
        """Raise what made the consumer give up, if it did."""
        if self.error is not None:
            raise self.error

    def renew(self, barrier: Barrier) -> None:
        """Go on with `barrier`, in which those that were never sent are pending."""
        barrier.inherit(self.barrier, Barrier.NOT_SENT)
        self.barrier = barrier
        self.is_watched = False
        if self._nested is not None:
            self._nested.renew()

    def renew_all(self) -> None:
        """Let all members be pending once more."""
        self.renew(sealed(len(self.barrier)))

    def adopt(self, sent: Members) -> None:
        """Go on as `sent`, which has the same ids: what was held has been sent."""
        self.values = sent.values or self.values
        self.ran_here = sent.ran_here
        self.sent_at, self.losses = sent.sent_at, sent.losses
        # It knows by now what chains in the group leave behind.
        self.roster = sent.roster
        # What ran in place is nowhere else.
        self._nested = sent._nested if sent.ran_here else None
        self.renew(sent.barrier)
        if len(self.waiters) or self.callbacks:
            # What arrived meanwhile, for who was there first.
            self.begin()
        self.notify()

    def take_over(self, index: int, sent: Members, at: int) -> None:
        """Go on with one member as a member of `sent`: what was held has been sent."""
        self.sent_at, self.losses = sent.sent_at, sent.losses
        state = sent.barrier.state(at)
        if state != Barrier.PENDING:
            self.reserve()
            self.values[index] = sent.values[at] if sent.values else None
            self.ran_here = self.ran_here or sent.ran_here
            self.barrier.arrive(index, state)
        if len(self.waiters) or self.callbacks:
            # What arrived meanwhile, for who was there first.
            self.begin()
        self.notify()


def run_logged(call: Callable[[], None]) -> None:
    """Call a user's callback; what it raises is logged, for nobody waits for it."""
    try:
        call()
    except BaseException as exc:
        # `sys.exit()` in a callback ends neither the thread that takes in results nor
        # whoever looks; a Ctrl-C is no callback's.
        if is_interrupt(exc):
            raise
        logger.exception("results: a `then` callback failed")


def sealed(count: int) -> Barrier:
    """Return the barrier of so many members that are pending."""
    barrier = Barrier()
    barrier.grow(count)
    barrier.seal(count)
    return barrier
