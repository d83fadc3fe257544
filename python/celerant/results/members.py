"""What is known of a dispatch's members: states, values, and who waits for them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.errors import CelerantError, NotSent, ResultExpired
from celerant.results.exceptions import rebuild

if TYPE_CHECKING:
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


class _Waiter:
    """One waiting thread: woken once its condition holds."""

    __slots__ = ("event", "is_done")

    def __init__(self, is_done: Callable[[], bool]) -> None:
        self.is_done = is_done
        self.event = threading.Event()


class Members:
    """The states and values of n members, shared by a result and its consumer.

    The consumer's thread alone writes values and lets members arrive from records;
    everyone else reads. A value is in its slot before its member arrives.
    """

    __slots__ = (
        "__weakref__",
        "_waiters",
        "backend",
        "barrier",
        "callbacks",
        "error",
        "first_failure",
        "is_watched",
        "roster",
        "sent_at",
        "values",
    )

    def __init__(
        self,
        roster: Roster,
        barrier: Barrier,
        backend: Backend,
        *,
        values: list[Any] | None = None,
        sent_at: float | None = None,
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
        self._waiters: set[_Waiter] = set()

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
        return self.backend.consumer.watch(self, timeout)

    def when(self, is_done: Callable[[], bool], call: Callable[[], None]) -> None:
        """Have `call` called once `is_done` holds, at once where it does already."""
        if is_done():
            run_logged(call)
            return
        self.callbacks.append((is_done, call))
        self.backend.consumer.keep(self)

    def wait(self, is_done: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until `is_done` holds; False where `deadline` (monotonic) passed."""
        waiter = _Waiter(is_done)
        # Register first, look second: an arrival in between wakes the event.
        self._waiters.add(waiter)
        try:
            while not is_done():
                self.raise_error()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                waiter.event.wait(left)
                waiter.event.clear()
        finally:
            self._waiters.discard(waiter)
        return True

    def notify(self) -> None:
        """Wake and call those whose condition holds; called after members arrived."""
        for waiter in tuple(self._waiters):
            if waiter.is_done():
                waiter.event.set()
        for entry in tuple(self.callbacks):
            is_done, call = entry
            if is_done():
                self.callbacks.remove(entry)
                run_logged(call)

    def fail(self, error: CelerantError) -> None:
        """Tell everyone who waits that the consumer gave up."""
        self.error = error
        self.is_watched = False
        for waiter in tuple(self._waiters):
            waiter.event.set()

    def raise_error(self) -> None:
        """Raise what made the consumer give up, if it did."""
        if self.error is not None:
            raise self.error

    def forget_threads(self) -> None:
        """Drop what belongs to threads that a fork did not copy."""
        self._waiters = set()
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
