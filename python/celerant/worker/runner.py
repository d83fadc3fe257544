"""From a delivery to its end: run it, have it stored, settle it."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from celerant.common.foreign import traceback_text
from celerant.common.printable import Lines
from celerant.running.ending import Ending
from celerant.running.lateness import Lateness
from celerant.running.policy import Policy, Settlement
from celerant.running.succession import send_successors
from celerant.running.trace import FAILURE, STARTED, Outcome
from celerant.tasks.control_flow import RETRY
from celerant.worker.receiving import tell_refused

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.worker.events import Events
    from celerant.worker.message import Delivery
    from celerant.worker.pool import Engine
    from celerant.worker.refused import Refused
    from celerant.worker.roll import Roll

__all__ = ["Runner"]

logger = logging.getLogger("celerant.worker")

#: Seconds that a result or an acknowledgement waits for others, at most.
_LATEST = 0.003
#: Seconds that the end of a program waits for the broker to hear of its last tasks.
_FAREWELL = 2.0


class Settles(Protocol):
    """Tells the broker what became of messages."""

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Have the broker told, soon."""
        ...

    def settle_early(self, delivery: Delivery) -> bool:
        """Acknowledge a message whose task begins now; say whether that is all."""
        ...

    def tell(self) -> None:
        """Have the broker told at once what waits for that."""
        ...

    def tell_late(self) -> bool:
        """The same for what waits for long; say whether nothing is left."""
        ...

    def wait(self, seconds: float) -> None:
        """Have the broker told, and wait until it is."""
        ...


class _Nobody:
    """Tells no broker: the messages came from none."""

    def settle(self, delivery: Delivery, settlement: Settlement) -> None:
        """Do nothing."""

    def settle_early(self, _delivery: Delivery) -> bool:
        """Do nothing."""
        return True

    def tell(self) -> None:
        """Do nothing."""

    def tell_late(self) -> bool:
        """Do nothing."""
        return True

    def wait(self, seconds: float) -> None:
        """Do nothing."""


class Runner:
    """Executes deliveries in the threads of a pool."""

    def __init__(
        self,
        engine: Engine,
        app: App,
        *,
        hostname: str,
        roll: Roll,
        events: Events,
    ) -> None:
        """Run in `engine`, store and go on by `app`; set `settling` before a call.

        `roll` is told what runs, and tells what is revoked; `events` go to monitors.
        """
        self._engine = engine
        self._roll = roll
        self._events = events
        self.ending = Ending(app, events)
        #: What tells the broker; the source, or a part of it.
        self.settling: Settles = _Nobody()
        self._lateness = Lateness(self._tend, _LATEST, f"{hostname} late")
        #: Has results stored, and the broker told, a little later.
        self.ask_later = self._lateness.ask
        self._hostname = hostname
        self._policies: dict[str, Policy] = {}

    def __call__(self, delivery: Delivery) -> None:
        """Execute one delivery and settle it, however it ends; raise nothing."""
        request = delivery.request
        policy, settlement = None, Settlement.ACK
        is_settled = False
        try:
            policy = self._policies.get(delivery.task.name)
            if policy is None:
                policy = self._policies[delivery.task.name] = Policy.of(delivery.task)
            if not policy.acks_late:
                is_settled = self.settling.settle_early(delivery)
            outcome = self._execute(delivery, policy, is_settled=is_settled)
            if outcome is None:
                is_settled = True
            else:
                settlement = policy.settlement(outcome)
        except BaseException as exc:  # noqa: BLE001 - no slot may end by a task
            outcome = self.ending.rescue(request, policy, exc)
            settlement = settlement if policy is None else policy.settlement(outcome)
        finally:
            if not is_settled:
                self.settling.settle(delivery, settlement)
        if self.ending.volley:
            self.ending.volley.store_due()
            # What is left does not wait for what this slot runs next.
            self.ask_later()

    def rest(self) -> None:
        """Let nothing wait, for a slot has nothing more to run."""
        self.ending.volley.store()
        self.ending.volley.wait()
        self.settling.tell()

    def part(self) -> None:
        """Let nothing be left to threads that the interpreter is about to end."""
        self.rest()
        self.settling.wait(_FAREWELL)

    def _tend(self) -> None:
        is_all = True
        try:
            is_all = self.ending.volley.store_late()
        except BaseException as exc:  # noqa: BLE001 - those that come later must leave
            logger.error(  # noqa: TRY400 - its text may be code of its own
                "storing results failed%s", Lines(traceback_text(exc))
            )
        if not self.settling.tell_late() or not is_all:
            self.ask_later()

    def close(self) -> None:
        """Store and settle what is left, when no slot runs any more."""
        self._lateness.close()
        self.rest()

    def _execute(
        self, delivery: Delivery, policy: Policy, *, is_settled: bool
    ) -> Outcome | None:
        request = delivery.request
        # First on the roll, then the look at what is revoked: a command that comes
        # in between finds it there and ends it.
        self._roll.begin(request)
        try:
            reason = self._reason_against(delivery)
            if reason is not None:
                return self.ending.discard(request, policy, reason)
            if policy.tracks_started and not request.ignore_result:
                about = {"pid": os.getpid(), "hostname": self._hostname}
                self.ending.storing(request, about, STARTED)
            if self._events.tells_tasks and policy.sends_events:
                self._events.started(request)
            outcome = self._engine.run(delivery)
            delivery.has_run = True
            if outcome.is_lost and policy.retries_lost:
                outcome = _retried(delivery, outcome)
            if request.successors:
                outcome = send_successors(delivery.request, delivery.task, outcome)
            settle = None if is_settled else partial(self.settling.settle, delivery)
            return self.ending.finish(request, policy, outcome, settle)
        finally:
            self._roll.end(request)

    def _reason_against(self, delivery: Delivery) -> str | None:
        if delivery.expires is not None and time.time() > delivery.expires:
            return "expired"
        return "revoked" if self._roll.revoked.cover(delivery.request) else None

    def refuse(self, refused: Refused, queue: str) -> None:
        """Store the failure of a message that cannot run, and log it once."""
        request = refused.request
        task_id = "without an id" if request is None else request.id
        logger.error(
            "message %s from queue %r refused: %s", task_id, queue, refused.reason
        )
        tell_refused(refused, self._hostname)
        if request is None:
            return
        try:
            self.ending.refuse(request, refused.exception)
        except BaseException as exc:  # noqa: BLE001 - no slot may end by a message
            self.ending.rescue(request, None, exc)


def _retried(delivery: Delivery, outcome: Outcome) -> Outcome:
    """Have a task sent again whose process died, for as often as it may be."""
    retry = delivery.task.retry_lost(delivery.request, outcome.exception)
    if retry is None:
        # Nor does the broker deliver it again: that would be one run too many.
        return Outcome(FAILURE, exception=outcome.exception, runtime=outcome.runtime)
    return Outcome(RETRY, exception=retry, runtime=outcome.runtime)
