"""The members of a dispatch: their states and values, and waits for them.

What each thread may do:

- Any thread may read states and values, and wait.
- The thread that sends adds and ends members (`grow`, `settle`, `seal`). The consumer's
  thread and threads that wait absorb records (`absorb`, `take`). A member's value and
  its arrival are one operation of the barrier: if several threads bring the same
  member, one of them does both, and the others do neither.
- Only the call that completes the barrier calls `_complete`, which wakes the waiters,
  has `then` callbacks called and releases the consumer.
- Callbacks are called by the consumer's thread, by the caller of `when` if they are due
  already, and by the thread that drops held members (`give_up`).
- The consumer's thread sets `error` and what `is_watched` returns. An exception made
  from a record is kept under a lock, so that all threads get the same one.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster, monotonic
from celerant.common.per_process import PerProcess
from celerant.results.tracking.callbacks import Callback, Event
from celerant.results.tracking.forms import parted, shape_of
from celerant.results.tracking.nested import Nested
from celerant.results.tracking.sampling import Sampling
from celerant.results.tracking.steered import Steered
from celerant.results.tracking.waiters import Waiter
from celerant.results.tracking.waiting import refuse_inside_callback

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.tracking.member_backend import MemberBackend

__all__ = ["Members", "sealed"]

#: The seed of a roster whose ids do not derive from a seed.
_NO_SEED = bytes(16)
#: Held while `Nested` or `Sampling` is made, so that there is only one.
_making = PerProcess(threading.Lock)


class Members(Steered):
    """The states and values of n members, shared by a result and its consumer.

    Args:
        roster: The members' ids.
        backend: The store of their results.
        barrier: Their states; None if they are still to be sent.
        values: The values of members that ran in place, with exceptions for failures.
        sent_at: When they were sent, in seconds since the epoch; None is now.
        losses: The backend's `losses` before the first message left; None is its
            present number.
        is_group: Whether they are a group's members, and not one task or a chain's
            steps.
    """

    __slots__ = ()

    @classmethod
    def of_ids(
        cls, ids: Sequence[str], backend: MemberBackend, *, seed: bytes = _NO_SEED
    ) -> Self:
        """Return pending members with these ids.

        Args:
            ids: An id for each member.
            backend: The store of their results.
            seed: Names the keys that are stored beside a group's results.
        """
        roster = Roster(seed, len(ids))
        for index, task_id in enumerate(ids):
            roster.adopt(index, task_id)
        return cls(roster, backend, barrier=sealed(len(ids)))

    @classmethod
    def of_forms(cls, forms: Sequence[Any], backend: MemberBackend) -> Self:
        """Return pending members of a group, which have these forms."""
        # The group's own seed, which names the keys stored beside its results.
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
        """Members that are groups themselves; found when it is first read."""
        nested = self._nested
        if nested is None or nested.is_behind(self):
            with _making.get():
                if self._nested is None:
                    self._nested = Nested(self)
                nested = self._nested
                nested.extend(self)
        return nested

    @property
    def sampling(self) -> Sampling:
        """Estimates of members that the consumer does not watch."""
        if self._sampling is None:
            with _making.get():
                if self._sampling is None:
                    self._sampling = Sampling(self)
        return self._sampling

    def wait_for(self, index: int, timeout: float | None) -> bool:
        """Wait until one member is done; return False if the time has passed.

        Args:
            index: The member.
            timeout: Seconds; 0 checks once, None waits for ever.
        """
        if self.is_done(index):
            return True
        deadline = None if timeout is None else monotonic() + timeout
        event = threading.Event()
        waiter = Waiter(event.set, index)
        is_done = partial(self.is_done, index)
        task_id = self.roster.id(index)
        self.backend.check(self)
        can_listen = not (self.is_watched or self.may_have_expired())
        hears = can_listen and self.backend.listen(self, task_id, event.set)
        look = partial(self.take, index) if hears else None
        try:
            if look is None:
                self.look(timeout)
            else:
                self.error = None
                look()
            if not is_done():
                self.backend.tell_obstacle()
            return self._wait(is_done, waiter, event, deadline, look)
        finally:
            if hears:
                self.backend.unlisten(self, task_id, event.set)

    def wait(
        self,
        is_done: Callable[[], bool],
        deadline: float | None,
        *,
        hears_all: bool = False,
    ) -> bool:
        """Wait until `is_done` holds; return False if `deadline` has passed.

        Args:
            is_done: The condition: all are done, one has failed, or the consumer has
                swept them.
            deadline: A `monotonic` time; None waits for ever.
            hears_all: Whether each member that comes in may fulfil the condition.

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
        # Checked after it is registered, so that no arrival is missed.
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
        """Wait until the members were swept once, and let them be watched; then O(1).

        Returns:
            False if `timeout` (seconds; None waits for ever) passed before the sweep.
        """
        if self.barrier.is_complete or self.is_watched:
            return True
        self.backend.check(self)
        # The inner ones first, so that they are swept before these.
        self.nested.begin()
        return self.backend.consumer.watch(self, timeout)

    def learn(self) -> None:
        """Learn which members another process has sent by now.

        Does nothing if this process sends them, or if the consumer learns of them.

        Raises:
            Exception: The store's own.
        """
        growth = self.growth
        if growth is not None and not (self.barrier.is_sealed or self.is_watched):
            growth.look(self)

    def begin(self) -> None:
        """Let the members be watched from now on, without waiting for the sweep.

        Raises:
            ForkError: Their results come to another process.
        """
        if not self.barrier.is_complete and not self.is_watched:
            self.backend.check(self)
            self.nested.begin()
            self.backend.consumer.begin(self)

    def when(self, index: int | None, act: Callable[[], None]) -> None:
        """Have `act` called once a member is done, or all if `index` is None."""
        self.register(Callback(index, act))

    def register(self, entry: Event) -> None:
        """Have a callback called when it is due, which may be at once."""
        if entry.is_due(self) and entry.is_last(self):
            entry.call()
            return
        if entry.is_vain(self):
            return
        self.check_process()
        self.backend.check(self)
        self.callbacks.append(entry)
        self.nested.begin()
        # The consumer's thread checks it again, so that no arrival is missed.
        self.keep()

    def keep(self) -> None:
        """Let the consumer serve the members until all callbacks were called."""
        self.backend.consumer.keep(self)

    def forget(self, indices: Sequence[int]) -> None:
        """Drop the values of members that are done; their states stay."""
        nested = self.nested
        for index in indices:
            if index in nested:
                inner = nested.members(index)
                inner.forget(range(len(inner.barrier)))
        self.values.drop(indices)

    def may_have_expired(self) -> bool:
        """Whether a record that was stored at the send would have expired by now."""
        kept = self.backend.expires
        return bool(kept) and time.time() - self.sent_at > kept

    def raise_error(self) -> None:
        """Raise the error for which the consumer gave up, if it did."""
        if self.error is not None:
            raise self.error


def sealed(count: int) -> Barrier:
    """Return the barrier of `count` pending members, sealed."""
    barrier = Barrier()
    barrier.grow(count)
    barrier.seal(count)
    return barrier
