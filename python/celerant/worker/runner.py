"""From a delivery to its end: run it, have it stored, settle it."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from celerant.running.ending import Ending
from celerant.running.policy import Policy, Settlement
from celerant.running.succession import send_successors
from celerant.running.trace import FAILURE, STARTED, Outcome
from celerant.tasks.control_flow import RETRY
from celerant.worker.receiving import tell_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.host import App
    from celerant.worker.events import Events
    from celerant.worker.message import Delivery, Refused
    from celerant.worker.pool import Engine
    from celerant.worker.roll import Roll

__all__ = ["Runner"]

logger = logging.getLogger("celerant.worker")


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
        """Run in `engine`, store and go on by `app`; set `settle` before a call.

        `roll` is told what runs, and tells what is revoked; `events` go to monitors.
        """
        self._engine = engine
        self._roll = roll
        self._events = events
        self.ending = Ending(app, events)
        self.settle: Callable[[Delivery, Settlement], None] = _untold
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
                is_settled = True
                self.settle(delivery, settlement)
            outcome = self._execute(delivery, policy)
            settlement = policy.settlement(outcome)
        except BaseException as exc:  # noqa: BLE001 - no slot may end by a task
            outcome = self.ending.rescue(request, policy, exc)
            settlement = settlement if policy is None else policy.settlement(outcome)
        finally:
            if not is_settled:
                self.settle(delivery, settlement)

    def _execute(self, delivery: Delivery, policy: Policy) -> Outcome:
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
            if outcome.is_lost and policy.retries_lost:
                outcome = _retried(delivery, outcome)
            if request.successors:
                outcome = send_successors(delivery.request, delivery.task, outcome)
            return self.ending.finish(request, policy, outcome)
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


def _untold(_delivery: Delivery, _settlement: Settlement) -> None:
    """Tell no broker: the message came from none."""
