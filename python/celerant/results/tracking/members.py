"""The members of a dispatch: what became of them, and who waits for them.

Which thread may do what:

- Any thread may look, wait, and bring members: the one that sends (`grow`, `settle`,
  `seal`), the consumer's, and one that waits (`absorb`, `take`). The value of a member
  and its arrival are one operation of the barrier: of threads that bring the same
  member one does both, and the others neither.
- The call that completes the barrier, and no other, calls `_complete`: it wakes whoever
  waits, has `then` callbacks called and lets the consumer go.
- Callbacks are called by the consumer's thread; by the caller of `when`, if
  their time has come already; and by whoever drops what was held (`give_up`).
- `error` and what `is_watched` says are set by the consumer's thread. An exception
  that is made of a record is kept under a lock, so that everyone gets the same one.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster, monotonic
from celerant.common.per_process import ProcessLock
from celerant.results.tracking.callbacks import Callback, Event
from celerant.results.tracking.forms import parted, shape_of
from celerant.results.tracking.nested import Nested
from celerant.results.tracking.sampling import Sampling
from celerant.results.tracking.steered import Steered
from celerant.results.tracking.waiters import Waiter
from celerant.results.tracking.waiting import refuse_inside_callback

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.source import Source

__all__ = ["Members", "sealed"]

#: For a roster none of whose ids derive from a seed.
_NO_SEED = bytes(16)
#: Held while `Nested` is made, by whoever looks first.
_making = ProcessLock()


class Members(Steered):
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

    __slots__ = ()

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
                members.roster.keep_shapes(index, index + 1, shape_of(form))
        return members

    @property
    def nested(self) -> Nested:
        """Members that are groups themselves; found as they are looked at."""
        nested = self._nested
        if nested is None or nested.is_behind(self):
            with _making:
                if self._nested is None:
                    self._nested = Nested(self)
                nested = self._nested
                nested.extend(self)
        return nested

    @property
    def sampling(self) -> Sampling:
        """What is found of members by chance, if nobody watches them."""
        if self._sampling is None:
            with _making:
                if self._sampling is None:
                    self._sampling = Sampling(self)
        return self._sampling

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

    def wait(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        *,
        hears_all: bool = False,
    ) -> bool:
        """Wait until `is_done` holds; False where `deadline` (monotonic) passed.

        Args:
            is_done: The condition: that all are done, that one has failed, or that the
                consumer has swept them.
            deadline: None waits for ever.
            hears_all: Whether any member that comes in matters.
        Raises:
            RuntimeError: Inside a `then` callback.
        """
        event = threading.Event()
        waiter = Waiter(event.set, hears_all=hears_all)
        return self._wait(is_done, waiter, event, deadline)

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
        self.register(Callback(index, act))

    def register(self, entry: Event) -> None:
        """Have `entry` called when its time comes; at once if it has come already."""
        if entry.is_due(self) and entry.is_last(self):
            entry.call()
            return
        if entry.is_vain(self):
            return
        self.backend.check(self)
        self.callbacks.append(entry)
        self.nested.begin()
        # Registered first, looked second, by the consumer's thread.
        self.keep()

    def keep(self) -> None:
        """Have the consumer call back, and serve the members until it has."""
        self.backend.consumer.keep(self)

    def forget(self, indices: Sequence[int]) -> None:
        """Drop what is kept of members that are done; they stay so."""
        nested = self.nested
        for index in indices:
            if index in nested:
                inner = nested.members(index)
                inner.forget(range(len(inner.barrier)))
        self.values.drop(indices)

    def may_have_expired(self) -> bool:
        """Whether a record stored when the members were sent would be gone by now."""
        kept = self.backend.expires
        return bool(kept) and time.time() - self.sent_at > kept

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
