"""What a task's options say of its runs, and so what the broker is told of each."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from celerant.errors import Reject
from celerant.foreign import is_a
from celerant.worker.trace import FAILURE

if TYPE_CHECKING:
    from celerant.worker.host import Runnable
    from celerant.worker.trace import Outcome

__all__ = ["Policy", "Settlement"]


class Settlement(enum.Enum):
    """What the broker is told of a message."""

    ACK = "ack"
    REJECT = "reject"
    REQUEUE = "requeue"


class Policy(NamedTuple):
    """Options of a task, looked up once for each worker."""

    acks_late: bool
    acks_on_failure: bool
    rejects_lost: bool
    tracks_started: bool
    stores_errors: bool
    sends_events: bool
    throws: tuple[type[BaseException], ...]

    @classmethod
    def of(cls, task: Runnable) -> Policy:
        """Return the policy of a task."""
        return cls(
            acks_late=bool(task.acks_late),
            # None is the default of the setting, which is True.
            acks_on_failure=task.acks_on_failure_or_timeout is not False,
            rejects_lost=bool(task.reject_on_worker_lost),
            tracks_started=bool(task.track_started),
            stores_errors=bool(task.store_errors_even_if_ignored),
            sends_events=task.send_events is not False,
            throws=tuple(task.throws or ()),
        )

    def settlement(self, outcome: Outcome) -> Settlement:
        """Return what the broker is told of a message that ended so."""
        if is_a(outcome.exception, Reject) and self.acks_late:
            requeue = outcome.exception.requeue
            return Settlement.REQUEUE if requeue else Settlement.REJECT
        if outcome.state != FAILURE or not self.acks_late:
            return Settlement.ACK
        if outcome.is_lost and self.rejects_lost:
            return Settlement.REQUEUE
        if outcome.is_overrun and not self.acks_on_failure:
            return Settlement.REQUEUE
        return Settlement.ACK if self.acks_on_failure else Settlement.REJECT
