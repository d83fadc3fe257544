"""What is known of a dispatch's members: states, values, and who waits for them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from celerant._core import Barrier, Roster, monotonic
from celerant.common.foreign import is_interrupt
from celerant.common.per_process import ProcessLock
from celerant.common.printable import line
from celerant.errors import CelerantError, NotSent, ResultExpired, TaskControl
from celerant.results.exceptions import add_note, rebuild
from celerant.results.forms import groups_in
from celerant.results.intake import absorb, unreadable
from celerant.results.nested import Nested
from celerant.results.waiters import Waiter, Waiters
from celerant.results.waiting import refuse_inside_callback

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


#: What a member that is a group itself is, unless it was never sent.
_OF_NESTED = (Barrier.PENDING, Barrier.SUCCESS, Barrier.FAILURE)


class Follower(Protocol):
    """Wants to know which members come in, and by which records."""

    def note(self, indices: Sequence[int], records: Sequence[bytes | None]) -> None:
        """Take note; called by the consumer's thread."""


#: Held while they are made, by whoever looks first.
_making = ProcessLock()


class Members:
    """The states and values of n members, shared by a result and its consumer.

    The consumer's thread alone writes values and lets members arrive from records;
    everyone else reads. A value is in its slot before its member arrives.
    """

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_home",
        "_is_watched",
        "_nested",
        "_waiters",
        "backend",
        "barrier",
        "callbacks",
        "error",
        "first_failure",
        "is_group",
        "losses",
        "path",
        "pid",
        "ran_here",
        "refuse_waiting",
        "roster",
        "sent_at",
        "unsent",
        "values",
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
        #: Whether it ran in place, so that there may be no records.
        self.ran_here = values is not None
        #: The member whose failure arrived first.
        self.first_failure: int | None = None
        self._is_watched = False
        #: Why the consumer gave up; raised at the next look, which starts it again.
        self.error: CelerantError | None = None
        #: (condition, call): called once by the consumer's thread when it holds.
        self.callbacks: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        #: Seconds since the epoch.
        self.sent_at = time.time() if sent_at is None else sent_at
        #: Whether they are a group's; else one task, or the steps of a chain.
        self.is_group = False
        #: Where the group stands, if it is a member of another.
        self.path = ""
        #: Members that are groups themselves; None until the first look.
        self._nested: Nested | None = None
        #: Of the backend's losses those that who waits here knows of.
        self.losses = backend.losses if losses is None else losses
        #: Raises where a wait could not end: what is held is sent after it.
        self.refuse_waiting: Callable[[], None] | None = None
        #: Why those that were never sent were not; None: the broker has not got them.
        self.unsent: str | None = None
        #: The process that holds what was sent from here.
        self.pid = os.getpid()
        #: The process whose threads wait here.
        self._home = self.pid
        self._waiters = Waiters()
        #: Iterators that want to know which members arrive; gone with their users.
        self._arrivals: set[weakref.ref[Follower]] = set()

    @classmethod
    def alone(cls, task_id: str, backend: Backend) -> Members:
        """Return the one member of a task sent by itself."""
        barrier = Barrier()
        barrier.grow(1)
        barrier.seal(1)
        roster = Roster(_NO_SEED, 1)
        roster.adopt(0, task_id)
        return cls(roster, barrier, backend)

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

    @property
    def nested(self) -> Nested:
        """Members that are groups themselves."""
        if self._nested is None:
            with _making:
                if self._nested is None:
                    self._nested = Nested(self, groups_in(self.roster))
        return self._nested

    def where(self, index: int) -> str:
        """Return what an error calls a member."""
        return f"member {index}" + (f" of {self.path}" if self.path else "")

    def is_done(self, index: int) -> bool:
        """Whether a member is done, in whatever way."""
        return self.barrier.state(index) != Barrier.PENDING

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
        if self._nested is not None:
            self._nested.renew()

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

    def control(self, index: int) -> TaskControl | None:
        """Return what a member raised that ran in place: no value is to come."""
        if self.barrier.state(index) != Barrier.IGNORED or not self.values:
            return None
        kept = self.values[index]
        return kept if isinstance(kept, TaskControl) else None

    def exception(self, index: int) -> BaseException:
        """Return the exception of a member that failed; the same one every time."""
        state = self.barrier.state(index)
        if state in _OF_NESTED and index in self.nested:
            return self.nested.members(index).first_exception()
        self.reserve()
        kept = self.values[index]
        if isinstance(kept, BaseException):
            return kept
        made: BaseException
        if state == Barrier.NOT_SENT and self.unsent is not None:
            msg = f"{self.where(index)} was not sent: {self.unsent}"
            made = NotSent(msg, group_index=index)
        elif state == Barrier.NOT_SENT:
            made = NotSent(
                f"{self.where(index)} never reached the broker; "
                "`group.resume(result)` sends it under the same id",
                group_index=index,
            )
        elif state == Barrier.EXPIRED:
            made = ResultExpired(
                f"{self.where(index)} has no stored result, and one stored when it was "
                "sent would have expired by now; raise `result_expires` to keep longer"
            )
        else:
            made = self._rebuilt(index, kept, is_revoked=state == Barrier.REVOKED)
        self.values[index] = made
        return made

    def _rebuilt(self, index: int, kept: Any, *, is_revoked: bool) -> BaseException:
        name = None
        try:
            record = self.backend.decode(kept)
            made = rebuild(record, is_revoked=is_revoked)
            name = record.get("name")
        except Exception as exc:  # noqa: BLE001 - whatever a record holds
            made = unreadable(self.roster.id(index), exc)
        add_note(made, self._which(index, name))
        return made

    def _which(self, index: int, name: Any) -> str:
        """Return what tells a reader of a traceback which task failed."""
        place = f"{self.path or 'group'}[{index}], " if self.is_group else ""
        named = f" ({line(name)})" if isinstance(name, str) else ""
        return f"raised by {place}task {self.roster.id(index)}{named}"

    def first_exception(self) -> BaseException:
        """Return the exception of the member whose failure arrived first."""
        failed = self.failed_member()
        assert failed is not None  # noqa: S101 - asked of those that failed alone
        return self.exception(failed)

    def collect(self) -> list[Any]:
        """Return all values in member order, exceptions in their places."""
        self.reserve()
        values = self.values[: len(self.barrier)]
        for state in _FAILED:
            if self.barrier.count(state):
                for index in self.barrier.select(state, 0, len(values)):
                    values[index] = self.exception(index)
        for index in self.barrier.select(Barrier.IGNORED, 0, len(values)):
            values[index] = None
        for index in self.nested:
            if self.barrier.state(index) in _OF_NESTED:
                values[index] = self.nested.members(index).collect()
        return values


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
