"""The answer to the broker for each run, by the task's options."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant.common.foreign import is_a
from celerant.errors import Reject
from celerant.running.trace import FAILURE

if TYPE_CHECKING:
    from celerant.running.host import Runnable
    from celerant.running.trace import Outcome

__all__ = ["Policy", "Settlement"]


class Settlement(enum.Enum):
    """The answer to the broker for a message."""

    ACK = "ack"
    REJECT = "reject"
    REQUEUE = "requeue"


class Policy(NamedTuple):
    """Options of a task, looked up once for each worker."""

    #: The task that has them.
    task: Any
    acks_late: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    rejects_lost: bool
    retries_lost: bool
    tracks_started: bool
    stores_errors: bool
    sends_events: bool
    throws: tuple[type[BaseException], ...]

    @classmethod
    def of(cls, task: Runnable) -> Policy:
        """Return the policy of a task."""
        both = task.acks_on_failure_or_timeout
        return cls(
            task=task,
            acks_late=bool(task.acks_late),
            acks_on_failure=_first_said(task.acks_on_failure, both),
            acks_on_timeout=_first_said(task.acks_on_timeout, both),
            rejects_lost=bool(task.reject_on_worker_lost),
            retries_lost=bool(task.retry_on_worker_lost),
            tracks_started=bool(task.track_started),
            stores_errors=bool(task.store_errors_even_if_ignored),
            sends_events=task.send_events is not False,
            throws=_classes(task.throws),
        )

    def settlement(self, outcome: Outcome) -> Settlement:
        """Return the answer to the broker for a message that ended like that."""
        if not self.acks_late:
            return Settlement.ACK
        if is_a(outcome.exception, Reject):
            requeue = outcome.exception.requeue
            return Settlement.REQUEUE if requeue else Settlement.REJECT
        if outcome.state != FAILURE:
            return Settlement.ACK
        if outcome.is_lost and self.rejects_lost:
            return Settlement.REQUEUE
        if outcome.is_overrun:
            return Settlement.ACK if self.acks_on_timeout else Settlement.REQUEUE
        return Settlement.ACK if self.acks_on_failure else Settlement.REJECT


def _first_said(*flags: bool | None) -> bool:
    """Return the first that is not None; if all are, a message is acknowledged."""
    return bool(next((flag for flag in flags if flag is not None), True))


def _classes(given: Any) -> tuple[type[BaseException], ...]:
    # A single class works too, as for `isinstance`.
    return (given,) if isinstance(given, type) else tuple(given or ())
