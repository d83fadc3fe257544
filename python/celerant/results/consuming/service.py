"""Serve members: subscribe to their records, read them, and tell of those that come.

A sweep reads the records of all pending members. It happens at the first look, after a
lost connection, and at intervals: pub/sub may lose messages, and a lost message must
only delay a result. Groups are read in turns, a chunk each, so a large one does not
hold up the others.
"""

from __future__ import annotations

import logging
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from celerant._core import Barrier, monotonic
from celerant.results.consuming.feed import ConsumerBackend, Feed
from celerant.results.consuming.learning import learn
from celerant.results.consuming.routes import Routes, Watch
from celerant.results.consuming.subscriptions import SUBSCRIBE_FIRST, Subscriptions
from celerant.results.consuming.sweeping import SweepClock, rest_after

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["ARRIVED", "Service"]

logger = logging.getLogger("celerant")

#: Called after each batch with the store, and with how many members arrived in each
#: state, by the states' numbers. Empty unless metrics are on.
ARRIVED: list[Callable[[ConsumerBackend, list[int]], None]] = []
#: The most members that one call of the backend reads.
_SWEEP_CHUNK = 1000
_OVER = object()


class Service:
    """Serves members from a backend and its feed.

    The consumer's thread calls it. Any thread may append to `arriving` and add to
    `kept`.
    """

    def __init__(self, backend: ConsumerBackend, feed: Feed) -> None:
        self._backend = backend
        self.feed = feed
        self.routes = Routes()
        self.subscriptions = Subscriptions(backend, self.routes)
        self.clock = SweepClock()
        #: Members whose first sweep is due, in the order in which they came.
        self.arriving: deque[weakref.ref[Members]] = deque()
        #: Members with callbacks, which must live until these are called.
        self.kept: set[Members] = set()
        #: Watches of members that are complete or collected; any thread appends to it.
        self._over: deque[Watch] = deque()
        #: Watches that have more members; any thread appends to it.
        self._grown: deque[Watch] = deque()
        #: The running sweeps, in the order of their turns.
        self._sweeps: dict[Watch, Iterator[None]] = {}
        self._watches: weakref.WeakKeyDictionary[Members, Watch] = (
            weakref.WeakKeyDictionary()
        )
        #: The time (`monotonic`) of a question that the backend has not answered; None
        #: if there is none.
        self.asking_since: float | None = None

    def tidy(self) -> None:
        """Stop serving members that are complete or collected."""
        while self._over:
            self._end(self._over.popleft())

    def admit_arriving(self) -> None:
        """Begin to serve the members in `arriving`."""
        for _ in range(len(self.arriving)):
            members = self.arriving.popleft()()
            if members is not None and not (
                members.is_watched or members.barrier.is_complete
            ):
                self._admit(members)

    def admit_grown(self) -> None:
        """Begin to serve members that were added to served ones."""
        for _ in range(len(self._grown)):
            watch = self._grown.popleft()
            members = watch.members()
            if members is None or watch not in self.routes.watches:
                continue
            if not watch.is_of(members):
                # The members are sent again and have another barrier. Held ones may
                # turn out to be groups only now.
                members.nested.begin()
                self.arriving.append(watch.members)
            elif watch in self._sweeps:
                # Later, for the running sweep may cover only some of them.
                self._grown.append(watch)
            elif watch.covered < len(watch.barrier) or watch.barrier.is_sealed:
                self._sweeps[watch] = self._look_at_new(watch)

    def call_back(self, members: Members) -> None:
        """Call the callbacks that are due."""
        members.call_back()
        self._release(members)

    def _release(self, members: Members) -> None:
        if not members.callbacks:
            self.kept.discard(members)

    def await_kept(self) -> None:
        """Serve members with callbacks again: no caller could get the error."""
        self.arriving.extend(map(weakref.ref, tuple(self.kept)))

    def _admit(self, members: Members) -> None:
        """Begin to serve `members`, and to read the records that are stored already."""
        known = self._watches.get(members)
        if known in self._sweeps and known.is_of(members) and not members.is_cancelled:
            # Another look came before, and its sweep serves both.
            return
        if known in self.routes.watches:
            # It is of an earlier barrier, or of fewer members.
            self._end(known)
        watch = self._watches[members] = Watch(members, self._over.append)
        members.on_complete = partial(self._over.append, watch)
        if members.is_group or not watch.barrier.is_sealed:
            # Even sealed members may be sent again.
            members.on_growth = partial(_note_growth, self._grown, self.feed, watch)
        if not watch.barrier.is_sealed or watch.covered < len(watch.barrier):
            # Checked after it is registered, so that no growth is missed.
            self._grown.append(watch)
        members.nested.begin_fresh()  # of members that came after the look
        if members.barrier.is_complete:
            # Checked after it is registered, so that no end is missed.
            self._over.append(watch)
        if not self.routes.watches:
            self.clock.swept(0.0)
        self.routes.add(watch)
        self._sweeps[watch] = self._look(watch)

    def resume(self) -> None:
        """Subscribe to all members and read them again, after a lost connection."""
        self._sweeps.clear()
        for watch in tuple(self.routes.watches):
            self._sweeps[watch] = self._look(watch)

    @property
    def is_reading(self) -> bool:
        """Whether any sweep is running."""
        return bool(self._sweeps)

    def unfinished(self) -> int:
        """Return how many of the served members are pending; any thread calls it."""
        served = [watch.members() for watch in list(self.routes.watches)]
        return sum(one.barrier.remaining for one in served if one is not None)

    @property
    def is_busy(self) -> bool:
        """Whether more work is due now."""
        return bool(self._sweeps or self.arriving or self._grown or self._over)

    def read_chunk(self) -> None:
        """Read one chunk of the sweep whose turn it is."""
        watch, sweep = next(iter(self._sweeps.items()))
        start = monotonic()
        is_over = next(sweep, _OVER) is _OVER
        now = monotonic()
        watch.spent += now - start
        # Another call may have removed it, if the chunk completed its members.
        is_left = self._sweeps.pop(watch, None) is not None
        if is_over:
            watch.due, watch.spent = now + rest_after(watch.spent), 0.0
        elif is_left:
            self._sweeps[watch] = sweep

    def _look(self, watch: Watch) -> Iterator[None]:
        """Subscribe and sweep; each turn reads a chunk."""
        members = watch.members()
        if members is None:
            return
        is_first = not members.is_watched
        barrier = members.barrier
        # Members that are still being sent will need each of their subscriptions.
        is_few = barrier.remaining <= SUBSCRIBE_FIRST or not barrier.is_sealed
        if is_few or not is_first:
            self._subscribe(watch, members)
        # A sweep must not keep members alive between two turns.
        del members, barrier
        yield from self._read(watch)
        self._conclude(watch, is_first=is_first)
        members = watch.members()
        if is_few or not is_first or watch not in self.routes.watches:
            return
        if members is not None:
            self._subscribe(watch, members)
        del members
        # Some records may have been stored between the sweep and the subscription.
        yield from self._read(watch)
        self._conclude(watch)

    def _look_at_new(self, watch: Watch) -> Iterator[None]:
        """Subscribe to new members and read them, in turns as `_look`."""
        members = watch.members()
        if members is None:
            return
        start = watch.covered
        self.routes.extend(watch)
        members.nested.begin_fresh()
        self.asking_since = monotonic()
        try:
            indices = self.subscriptions.extend(self.feed, watch, members, start)
        finally:
            self.asking_since = None
        for at in range(0, len(indices), _SWEEP_CHUNK):
            chunk = list(indices[at : at + _SWEEP_CHUNK])
            records = self._fetch(watch.roster.select(chunk))
            self._absorb(members, chunk, records)
            del members
            yield
            members = watch.members()
            if members is None:
                return

    def _reread(self, watch: Watch) -> Iterator[None]:
        yield from self._read(watch)
        self._conclude(watch)

    def _read(self, watch: Watch) -> Iterator[None]:
        """Read the records of all members that are pending now."""
        start, stop = 0, len(watch.barrier)
        while (members := watch.members()) is not None:
            indices = members.barrier.pending(start, _SWEEP_CHUNK)
            # Members past the stop were added later and are read separately.
            if not indices or indices[0] >= stop:
                return
            start = indices[-1] + 1
            records = self._fetch(watch.roster.select(indices))
            self._absorb(members, indices, records)
            del members
            if len(indices) < _SWEEP_CHUNK:
                return
            yield

    def _fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        self.asking_since = monotonic()
        try:
            return self._backend.fetch(ids)
        finally:
            self.asking_since = None

    def _subscribe(self, watch: Watch, members: Members) -> None:
        self.asking_since = monotonic()
        try:
            self.subscriptions.begin(self.feed, watch, members)
        finally:
            self.asking_since = None

    def _conclude(self, watch: Watch, *, is_first: bool = False) -> None:
        """End a sweep: tell waiters, and end members that cannot arrive."""
        members = watch.members()
        if members is None:
            return
        if is_first:
            self._expire(members)
        members.settle_cancelled()
        if self._doubt(members, watch):
            return
        if is_first:
            members.be_watched(watch.roster, watch.barrier)

    def _expire(self, members: Members) -> None:
        """End members whose records would have expired by now."""
        barrier = members.barrier
        if barrier.is_sealed and members.may_have_expired():
            members.settle(barrier.pending(0, len(barrier)), Barrier.EXPIRED)

    def _doubt(self, members: Members, watch: Watch) -> bool:
        """If results may have been lost, tell waiters and return True."""
        if members.barrier.is_complete:
            return False
        doubt = self._backend.doubt(members)
        if doubt is None:
            return False
        self._end(watch)
        members.fail(doubt)
        if members in self.kept:
            # A callback has no caller who could get the error, so it waits on.
            logger.warning("results: %s", doubt)
            self.arriving.append(weakref.ref(members))
        return True

    def _absorb(
        self, members: Members, indices: list[int], records: list[bytes | None]
    ) -> None:
        before = members.barrier.counts() if ARRIVED else None
        members.absorb(indices, records)
        if before is not None:
            after = members.barrier.counts()
            came = [now - then for now, then in zip(after, before, strict=True)]
            for hear in ARRIVED:
                hear(self._backend, came)
        if members in self.kept:
            self._release(members)

    def deliver(self, batch: list[tuple[str, bytes]]) -> None:
        """Take in the feed's records."""
        if not batch:
            return
        found: defaultdict[Watch, tuple[list[int], list[bytes | None]]]
        found = defaultdict(lambda: ([], []))
        unclaimed = []
        for task_id, record in batch:
            is_claimed = False
            for watch, index in self.routes.find(task_id):
                indices, records = found[watch]
                indices.append(index)
                records.append(record)
                is_claimed = True
            if not is_claimed:
                unclaimed.append((task_id, record))
        if unclaimed:
            self.feed.keep(unclaimed)
        for watch, (indices, records) in found.items():
            members = watch.members()
            if members is not None:
                self._absorb(members, indices, records)

    def until_next_sweep(self) -> float | None:
        """Return the seconds until the next sweep is due; None if none will be."""
        if not self.routes.watches or self.feed.is_complete:
            return None
        return self.clock.left(is_alone=self.subscriptions.is_alone)

    def sweep_all(self) -> None:
        """Read the pending members of small groups now, and begin on large ones."""
        start = monotonic()
        few: list[tuple[Watch, Members, list[int]]] = []
        ids: list[str] = []
        for watch in tuple(self.routes.watches):
            members = watch.members()
            if members is None:
                continue
            error = learn(members, self._backend)
            if error is not None:
                self._end(watch)
                members.fail(error)
                continue
            if watch in self._sweeps:
                continue
            if self.subscriptions.is_unheard(watch):
                # A pattern may be free by now, or so few are pending that channels do.
                self._subscribe(watch, members)
            if members.barrier.remaining >= _SWEEP_CHUNK:
                if watch.due <= start:
                    self._sweeps[watch] = self._reread(watch)
                continue
            # Many single tasks are read in one round trip.
            indices = members.barrier.pending(0, _SWEEP_CHUNK)
            few.append((watch, members, indices))
            ids += watch.roster.select(indices)
            if len(ids) >= _SWEEP_CHUNK:
                self._sweep_few(few, ids)
                few, ids = [], []
        self._sweep_few(few, ids)
        self.clock.swept(monotonic() - start)

    def _sweep_few(
        self, few: list[tuple[Watch, Members, list[int]]], ids: list[str]
    ) -> None:
        records = self._fetch(ids) if ids else []
        at = 0
        for _, members, indices in few:
            found = records[at : at + len(indices)]
            at += len(indices)
            self._absorb(members, indices, found)

    def _end(self, watch: Watch) -> None:
        """Stop serving a watch."""
        members = watch.members()
        if members is not None:
            self._release(members)
        self._sweeps.pop(watch, None)
        self.routes.discard(watch)
        self.subscriptions.end(self.feed, watch)

    def drop_all(self) -> list[Members | None]:
        """Stop serving all members and return them; None for collected ones."""
        served = [watch.members() for watch in self.routes.watches]
        self._sweeps.clear()
        self.routes.clear()
        self.subscriptions.forget_all()
        while self.arriving:
            served.append(self.arriving.popleft()())
        return served


def _note_growth(grown: deque[Watch], feed: Feed, watch: Watch) -> None:
    # A function, because a method would let members keep the consumer alive.
    grown.append(watch)
    feed.wake()
