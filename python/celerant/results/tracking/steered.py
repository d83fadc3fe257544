"""Members that are cancelled, held or sent again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from celerant._core import Barrier
from celerant.results.tracking.arriving import Arriving

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Steered"]


class Steered(Arriving):
    """The part of `Members` for those that are cancelled, held or sent again."""

    __slots__ = ()

    def cancel(self, running: frozenset[int]) -> None:
        """After one more sweep, wait only for running members.

        Args:
            running: The members that are known to run.
        """
        self.cancelled_but = running
        self._watched = None
        if not self.barrier.is_complete:
            self.begin()

    @property
    def is_cancelled(self) -> bool:
        """Whether only running members are waited for."""
        return self.cancelled_but is not None

    def settle_cancelled(self) -> None:
        """End pending members that do not run as REVOKED; called after a sweep."""
        running = self.cancelled_but
        if running is None:
            return
        start = 0
        for index in (*sorted(running), len(self.barrier)):
            if index > start:
                self.settle(range(start, index), Barrier.REVOKED)
            start = index + 1

    def mend(self, indices: Sequence[int]) -> None:
        """Make some members (ascending) pending, to be sent again in any state."""
        self.cancelled_but = None
        self.unqueued.difference_update(indices)
        if self.survival is not None:
            self.survival.reuse(indices)
        # Their new results are not those that were used.
        for forgetting in tuple(self._forgetting):
            forgetting.spare(indices)
        edges = [-1, *indices, len(self.barrier)]
        gaps = [(one + 1, other) for one, other in pairwise(edges)]
        for index in indices:
            record = self.values.get(index)
            if isinstance(record, bytes):
                self._stale[index] = record
            self.values.set(index, None)
        self._renew([gap for gap in gaps if gap[0] < gap[1]], Barrier.PENDING)

    # -- being sent again, or after being held -------------------------------------

    def send_again(self) -> None:
        """Be sent again under the same ids; unsent members become pending.

        Members that have arrived stay as they are.
        """
        self.cut_short = self.cancelled_but = None
        self._renew([(0, len(self.barrier))], Barrier.NOT_SENT)

    def _renew(self, kept: list[tuple[int, int]], but: int) -> None:
        """Replace the barrier.

        Args:
            kept: Ranges of members that keep their states.
            but: Members of these ranges in this state become pending.
        """
        before, barrier = self.barrier, Barrier()
        barrier.grow(len(before))
        self._kept, self._but = kept, but
        self._inherit(before, barrier)
        self._before, self.barrier = before, barrier
        if self._nested is not None:
            self._nested.renew()
        # So waiters hear of members while they are sent.
        self._note_growth()

    def send_held(self, losses: int) -> None:
        """Begin to send held members; `losses` are the backend's before that."""
        self.sent_at, self.losses = time.time(), losses
        # The ids inside chains and chords are known once these are read.
        self._nested = None
        self.send_again()

    def abandon(self) -> None:
        """Undo `send_again`, because no message has left."""
        if self._before is not None:
            barrier, self.barrier, self._before = self.barrier, self._before, None
            if self.barrier.inherit(barrier, Barrier.NOT_SENT, 0, len(self.barrier)):
                self._complete()
            self._note_growth()

    def give_up(self, why: str) -> None:
        """End all pending members as not sent, because of `why`."""
        self.refuse_waiting, self.unsent = None, why
        all_of_them = range(len(self.barrier))
        done = self.barrier.arrive_range(0, len(all_of_them), Barrier.NOT_SENT)
        # In this thread: a finalizer may call this while a lock is held, even the
        # consumer's.
        self.call_back()
        self._arrived(all_of_them, completed=done)

    def renew(self) -> None:
        """Make unsent members pending again."""
        self.send_again()
        self.seal(len(self.barrier))

    def adopt(self, sent: Self) -> None:
        """Take over from `sent`, which has the same ids: held members were sent."""
        self.send_held(sent.losses)
        self.ran_here = sent.ran_here
        self.roster, self.values = sent.roster, sent.values or self.values
        # If members ran in place, only `sent` knows their results.
        self._nested = sent._nested if sent.ran_here else None
        self.grow(len(sent.barrier))
        self.sent_at = sent.sent_at
        self.barrier.inherit(sent.barrier, Barrier.PENDING, 0, len(sent.barrier))
        self.seal(len(sent.barrier))

    def take_over(self, index: int, sent: Self, at: int) -> None:
        """Take one member over from `sent`: held member `index` was sent as `at`."""
        self.sent_at, self.losses = sent.sent_at, sent.losses
        state = sent.barrier.state(at)
        if state != Barrier.PENDING:
            self.ran_here = self.ran_here or sent.ran_here
            self.put(index, state, sent.values.get(at))
        if len(self.waiters) or self.callbacks:
            # Waiters and callbacks that came before also get what arrived meanwhile.
            self.begin()
