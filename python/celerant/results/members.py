"""What is known of a dispatch's members: states, values, and who waits for them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.errors import CelerantError, NotSent, ResultExpired
from celerant.results.exceptions import rebuild
from celerant.results.waiters import Waiter, Waiters

if TYPE_CHECKING:
    from celerant.results.arrivals import Arrivals
    from celerant.results.backends.base import Backend

__all__ = ["STATE_NAMES", "Members", "run_logged"]

logger = logging.getLogger("celerant")

#: Names of the barrier's states, by their numbers. The first four are Celery's own.
STATE_NAMES = (
    "PENDING",
    "SUCCESS",
    "FAILURE",
    "REVOKED",
    "IGNORED",
    "NOT_SENT",
    "EXPIRED",
)

#: For a roster none of whose ids derive from a seed.
_NO_SEED = bytes(16)

_FAILED = (Barrier.NOT_SENT, Barrier.FAILURE, Barrier.REVOKED, Barrier.EXPIRED)


class Members:
    """The states and values of n members, shared by a result and its consumer.

    The consumer's thread alone writes values and lets members arrive from records;
    everyone else reads. A value is in its slot before its member arrives.
    """

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "backend",
        "barrier",
        "callbacks",
        "error",
        "first_failure",
        "is_watched",
        "losses",
        "pid",
        "roster",
        "sent_at",
        "values",
        "waiters",
    )

    def __init__(  # noqa: PLR0913 - what a dispatch leaves behind
        self,
        roster: Roster,
        barrier: Barrier,
        backend: Backend,
        *,
        values: list[Any] | None = None,
        sent_at: float | None = None,
        losses: int | None = None,
    ) -> None:
        self.roster = roster
        self.barrier = barrier
        self.backend = backend
        #: A slot per member, made at the first look; a failure's holds its record
        #: until somebody asks for the exception.
        self.values: list[Any] = [] if values is None else values
        #: The member whose failure arrived first.
        self.first_failure: int | None = None
        #: Whether the consumer serves these members and has swept them once.
        self.is_watched = False
        #: Why the consumer gave up; raised at the next look, which starts it again.
        self.error: CelerantError | None = None
        #: (condition, call): called once by the consumer's thread when it holds.
        self.callbacks: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        #: Seconds since the epoch.
        self.sent_at = time.time() if sent_at is None else sent_at
        #: Of the backend's losses those that who waits here knows of.
        self.losses = backend.losses if losses is None else losses
        #: The process that holds what was sent from here.
        self.pid = os.getpid()
        self.waiters = Waiters()
        #: Iterators that want to know which members arrive; gone with their users.
        self._arrivals: set[weakref.ref[Arrivals[Any]]] = set()

    @classmethod
    def alone(cls, task_id: str, backend: Backend) -> Members:
        """Return the one member of a task sent by itself."""
        barrier = Barrier()
        barrier.grow(1)
        barrier.seal(1)
        roster = Roster(_NO_SEED, 1)
        roster.adopt(0, task_id)
        return cls(roster, barrier, backend)

    def look(self, timeout: float | None = None) -> bool:
        """Have the members swept once and watched from then on; O(1) afterwards.

        Returns:
            False where `timeout` (seconds, None waits) ended before the sweep.
        """
        if self.is_watched or self.barrier.is_complete:
            return True
        self.backend.check(self)
        return self.backend.consumer.watch(self, timeout)

    def begin(self) -> None:
        """Have the members watched from now on, without waiting for the sweep.

        Raises:
            ForkError: Their results come to another process.
        """
        if not self.is_watched and not self.barrier.is_complete:
            self.backend.check(self)
            self.backend.consumer.begin(self)

    def when(self, is_done: Callable[[], bool], call: Callable[[], None]) -> None:
        """Have `call` called once `is_done` holds, at once where it does already."""
        if is_done():
            run_logged(call)
            return
        self.backend.check(self)
        self.callbacks.append((is_done, call))
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
        """
        event = threading.Event()
        waiter = Waiter(is_done, event.set, index)
        # Register first, look second: an arrival in between wakes the event.
        self.waiters.add(waiter)
        try:
            while not is_done():
                self.raise_error()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                event.wait(left)
                event.clear()
        finally:
            self.waiters.discard(waiter)
        return True

    def notify(self, indices: Sequence[int] | None = None) -> None:
        """Wake and call those whose condition holds.

        Args:
            indices: The members that arrived; None: any may have.
        """
        self.waiters.wake(indices)
        for entry in tuple(self.callbacks):
            is_done, call = entry
            if is_done():
                self.callbacks.remove(entry)
                run_logged(call)

    def follow(self, arrivals: Arrivals[Any]) -> None:
        """Tell `arrivals` of members that arrive, for as long as somebody holds it."""
        self._arrivals.add(weakref.ref(arrivals, self._arrivals.discard))

    def note(self, indices: Sequence[int]) -> None:
        """Tell the iterators that records of these members came in."""
        for reference in tuple(self._arrivals):
            arrivals = reference()
            if arrivals is not None:
                arrivals.note(indices)

    def fail(self, error: CelerantError) -> None:
        """Tell everyone who waits that the consumer gave up."""
        self.error = error
        self.is_watched = False
        self.waiters.wake_all()

    def raise_error(self) -> None:
        """Raise what made the consumer give up, if it did."""
        if self.error is not None:
            raise self.error

    def forget_threads(self) -> None:
        """Drop what belongs to threads that a fork did not copy."""
        self.waiters = Waiters()
        self._arrivals = set()
        self.is_watched = False

    def reserve(self) -> None:
        """Make a value slot for each member there is."""
        missing = len(self.barrier) - len(self.values)
        if missing > 0:
            self.values.extend([None] * missing)

    def renew(self, barrier: Barrier) -> None:
        """Go on with `barrier`, in which those that were never sent are pending."""
        barrier.inherit(self.barrier, Barrier.NOT_SENT)
        self.barrier = barrier
        self.is_watched = False

    def failed_member(self) -> int | None:
        """Return the member whose failure arrived first, or None."""
        if self.first_failure is not None:
            return self.first_failure
        # Those that were never sent arrive at dispatch, before anyone listens.
        for state in _FAILED:
            if self.barrier.count(state):
                found = self.barrier.select(state, 0, 1)
                if found:
                    return found[0]
        return None

    def has_failed(self) -> bool:
        """Whether any member failed; O(1)."""
        count = self.barrier.count
        return self.first_failure is not None or any(map(count, _FAILED))

    def value(self, index: int) -> Any:
        """Return the value of a member that is done, or its exception."""
        state = self.barrier.state(index)
        if state == Barrier.SUCCESS:
            return self.values[index]
        if state in _FAILED:
            return self.exception(index)
        return None

    def exception(self, index: int) -> BaseException:
        """Return the exception of a member that failed; the same one every time."""
        state = self.barrier.state(index)
        self.reserve()
        kept = self.values[index]
        if isinstance(kept, BaseException):
            return kept
        made: BaseException
        if state == Barrier.NOT_SENT:
            made = NotSent(
                f"member {index} never reached the broker; "
                "`group.resume(result)` sends it under the same id",
                group_index=index,
            )
        elif state == Barrier.EXPIRED:
            made = ResultExpired(
                f"member {index} has no stored result, and one stored when it was "
                "sent would have expired by now; raise `result_expires` to keep longer"
            )
        else:
            made = rebuild(
                self.backend.decode(kept), is_revoked=state == Barrier.REVOKED
            )
        self.values[index] = made
        return made

    def collect(self) -> list[Any]:
        """Return all values in member order, exceptions in their places."""
        self.reserve()
        values = self.values[: len(self.barrier)]
        for state in _FAILED:
            if self.barrier.count(state):
                for index in self.barrier.select(state, 0, len(values)):
                    values[index] = self.exception(index)
        return values


def run_logged(call: Callable[[], None]) -> None:
    """Call a user's callback; what it raises is logged, for nobody waits for it."""
    try:
        call()
    except Exception:
        logger.exception("results: a `then` callback failed")
