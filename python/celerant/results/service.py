"""What the consumer's thread does for the members it serves.

It sweeps (reads what is pending) at the first look, after a lost connection, and at
intervals, because pub/sub loses messages: a lost one delays a result, never hangs it.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.results.intake import absorb
from celerant.results.routes import Routes, Watch
from celerant.results.subscriptions import SUBSCRIBE_FIRST, Subscriptions
from celerant.results.sweeping import SweepClock

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend, Feed
    from celerant.results.members import Members

__all__ = ["Service"]

logger = logging.getLogger("celerant")

#: Members read by one call of the backend.
_SWEEP_CHUNK = 1000
#: Chunks of a sweep between two looks at what was pushed, so that Redis does not have
#: to buffer it all.
_CHUNKS_PER_LOOK = 10


class Service:
    """The members that are served. Used by the consumer's thread, but for `kept`.

    Args:
        backend: Where results are.
        feed: Returns what brings new records.
        is_closing: Whether to stop early.
    """

    def __init__(
        self,
        backend: Backend,
        feed: Callable[[], Feed],
        is_closing: Callable[[], bool],
    ) -> None:
        self._backend = backend
        self._feed = feed
        self._is_closing = is_closing
        self.routes = Routes()
        self.subscriptions = Subscriptions(backend, self.routes)
        self.clock = SweepClock()
        #: Members somebody waits for with a callback: not to be dropped.
        self.kept: set[Members] = set()
        #: Watches of members that are gone; appended to by any thread.
        self.notes: deque[Watch] = deque()
        #: Members to be admitted once more.
        self.again: deque[Members] = deque()

    def tidy(self) -> None:
        """End what nobody holds any more."""
        while self.notes:
            self.end(self.notes.popleft())

    def admit(self, members: Members) -> None:
        """Watch `members`, and read what is stored of them already."""
        watch = Watch(members, self._on_dropped)
        members.reserve()
        self.routes.add(watch)
        is_few = members.barrier.remaining <= SUBSCRIBE_FIRST
        try:
            if is_few:
                self._subscribe(watch, members)
            self._sweep(watch, members, at_first=True)
        except BaseException:
            # It stays among the arriving ones, to be admitted once the backend is back.
            self.routes.discard(watch)
            raise
        if not is_few and watch in self.routes.watches:
            self._subscribe(watch, members)
            # What was stored between that sweep and the subscription.
            self._sweep(watch, members)
        self.clock.plan(0.0, is_alone=self.subscriptions.is_alone)

    def resume(self) -> None:
        """Take up all watches after a lost connection."""
        for watch in tuple(self.routes.watches):
            members = watch.members()
            if members is None:
                self.end(watch)
                continue
            self._subscribe(watch, members)
            self._sweep(watch, members)

    def _subscribe(self, watch: Watch, members: Members) -> None:
        self.subscriptions.begin(self._feed(), watch, members)

    def _sweep(self, watch: Watch, members: Members, *, at_first: bool = False) -> None:
        """Read the records of what is pending."""
        barrier, roster = members.barrier, watch.roster
        start, chunks = 0, 0
        while True:
            indices = barrier.pending(start, _SWEEP_CHUNK)
            if not indices or self._is_closing():
                break
            start = indices[-1] + 1
            records = self._backend.fetch(roster.select(indices))
            self._absorb(members, indices, records)
            chunks += 1
            if chunks % _CHUNKS_PER_LOOK == 0:
                self.deliver(self._feed().receive(0))
        if at_first:
            self._expire(members)
        if self._doubt(members, watch):
            return
        if at_first:
            members.is_watched = True
            self.notify(members)
        self._finish_if_done(members, watch)

    def _expire(self, members: Members) -> None:
        """Let those arrive whose record, if there ever was one, is gone by now."""
        if not members.may_have_expired():
            return
        barrier = members.barrier
        gone = barrier.pending(0, len(barrier))
        for index in gone:
            barrier.arrive(index, Barrier.EXPIRED)
        members.note(gone)

    def _doubt(self, members: Members, watch: Watch) -> bool:
        """Tell who waits where results may have been lost; True where so."""
        if members.barrier.is_complete:
            return False
        doubt = self._backend.doubt(members)
        if doubt is None:
            return False
        self.end(watch)
        members.fail(doubt)
        if members in self.kept:
            # A callback has nobody to raise to: it waits for what may come still.
            logger.warning("results: %s", doubt)
            self.again.append(members)
        return True

    def _absorb(
        self,
        members: Members,
        indices: list[int],
        records: list[bytes | None],
    ) -> None:
        absorb(self._backend, members, indices, records)
        members.note(indices)
        self.notify(members, indices)

    def deliver(self, batch: list[tuple[str, bytes]]) -> None:
        """Take in what the feed brought."""
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
            self._feed().keep(unclaimed)
        for watch, (indices, records) in found.items():
            members = watch.members()
            if members is not None:
                self._absorb(members, indices, records)
                self._finish_if_done(members, watch)

    def is_sweep_due(self) -> bool:
        """Whether all that is pending is to be read now."""
        return self._must_sweep() and self.clock.is_due

    def until_next_sweep(self) -> float | None:
        """Return the seconds until it is; None for never."""
        return self.clock.left if self._must_sweep() else None

    def _must_sweep(self) -> bool:
        return bool(self.routes.watches) and not self._feed().is_complete

    def sweep_all(self) -> None:
        """Read all that is pending."""
        start = time.monotonic()
        few: list[tuple[Watch, Members, list[int]]] = []
        ids: list[str] = []
        for watch in tuple(self.routes.watches):
            members = watch.members()
            if members is None:
                continue
            if self.subscriptions.is_unheard(watch):
                # A pattern may be free by now, or few enough be left for channels.
                self._subscribe(watch, members)
            if members.barrier.remaining >= _SWEEP_CHUNK:
                self._sweep(watch, members)
                continue
            # Many results of single tasks: together, not a round trip each.
            indices = members.barrier.pending(0, _SWEEP_CHUNK)
            few.append((watch, members, indices))
            ids += watch.roster.select(indices)
            if len(ids) >= _SWEEP_CHUNK:
                self._sweep_few(few, ids)
                few, ids = [], []
        self._sweep_few(few, ids)
        took = time.monotonic() - start
        self.clock.plan(took, is_alone=self.subscriptions.is_alone)

    def _sweep_few(
        self, few: list[tuple[Watch, Members, list[int]]], ids: list[str]
    ) -> None:
        records = self._backend.fetch(ids) if ids else []
        at = 0
        for watch, members, indices in few:
            found = records[at : at + len(indices)]
            at += len(indices)
            self._absorb(members, indices, found)
            self._finish_if_done(members, watch)

    def _finish_if_done(self, members: Members, watch: Watch) -> None:
        if not members.barrier.is_complete:
            return
        members.is_watched = True
        self.notify(members)
        self.end(watch)

    def notify(self, members: Members, indices: list[int] | None = None) -> None:
        """Wake who waits for `members`, of which those of `indices` arrived."""
        members.notify(indices)
        if not members.callbacks:
            self.kept.discard(members)

    def _on_dropped(self, watch: Watch) -> None:
        # Runs wherever the last reference went, under any lock: only leaves a note.
        self.notes.append(watch)

    def end(self, watch: Watch) -> None:
        """Serve `watch` no more."""
        self.routes.discard(watch)
        self.subscriptions.end(self._feed(), watch)

    def drop_all(self) -> list[Members | None]:
        """Serve nobody any more; return who was served, None for who is gone."""
        served = [watch.members() for watch in self.routes.watches]
        self.routes.clear()
        self.subscriptions.forget_all()
        return served
