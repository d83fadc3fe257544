"""From a delivery to its end: run it, have it stored, settle it."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
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
from celerant.worker.cancel_marks import CancelMarks
from celerant.worker.receiving import tell_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.host import App
    from celerant.worker.events import Events
    from celerant.worker.message import Delivery
    from celerant.worker.refused import Refused
    from celerant.worker.roll import Roll

__all__ = ["Run", "Runner"]

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


@dataclass(slots=True, eq=False)
class Run:
    """One run of a task, from its slot's side."""

    delivery: Delivery
    #: None if not even that was found.
    policy: Policy | None = None
    #: What the broker is to be told.
    settlement: Settlement = Settlement.ACK
    #: Whether it was told, or will be.
    is_settled: bool = False
    #: How many processes have died before they began it.
    deaths: int = 0


class Runner:
    """Takes deliveries through a run's steps, in the threads of a pool.

    `admit` comes first and `leave` last, in any case; what a step between them raises
    is for `rescue`.
    """

    def __init__(self, app: App, *, hostname: str, roll: Roll, events: Events) -> None:
        """Store and go on by `app`; set `settling` before the first run.

        `roll` is told what runs, and tells what is revoked; `events` go to monitors.
        """
        self._roll = roll
        self._marks = CancelMarks(app, roll.revoked)
        self._events = events
        self.ending = Ending(app, events)
        #: What tells the broker; the source, or a part of it.
        self.settling: Settles = _Nobody()
        self._lateness = Lateness(self._tend, _LATEST, f"{hostname} late")
        #: Has results stored, and the broker told, a little later.
        self.ask_later = self._lateness.ask
        self._hostname = hostname
        self._policies: dict[str, Policy] = {}

    def one_by_one(
        self, call: Callable[[Delivery], Outcome]
    ) -> Callable[[Delivery], None]:
        """Return what executes a delivery by `call`, and raises nothing."""

        def execute(delivery: Delivery) -> None:
            run = Run(delivery)
            try:
                if self.admit(run):
                    self.begin(run)
                    self.end(run, call(delivery))
            except BaseException as exc:  # noqa: BLE001 - no slot may end by a task
                self.rescue(run, exc)
            finally:
                self.leave(run)
            self.tend()

        return execute

    def admit(self, run: Run) -> bool:
        """Whether it may run; if not it is ended."""
        delivery = run.delivery
        request, name = delivery.request, delivery.task.name
        # First on the roll, then the look at what is revoked: a command that comes
        # in between finds it there and ends it.
        self._roll.begin(request)
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = Policy.of(delivery.task)
        run.policy = policy
        return self.may_run(run)

    def may_run(self, run: Run) -> bool:
        """Whether it is neither revoked nor too late; if not it is ended."""
        reason, policy = self._reason_against(run.delivery), run.policy
        if reason is None:
            return True
        assert policy is not None  # noqa: S101 - it was admitted
        outcome = self.ending.discard(run.delivery.request, policy, reason)
        run.settlement = policy.settlement(outcome)
        return False

    def begin(self, run: Run) -> None:
        """Tell the broker, the store and monitors that it begins, if they want that."""
        delivery, policy = run.delivery, run.policy
        assert policy is not None  # noqa: S101 - it was admitted
        request = delivery.request
        if not policy.acks_late:
            run.is_settled = self.settling.settle_early(delivery)
        if policy.tracks_started and not request.ignore_result:
            about = {"pid": os.getpid(), "hostname": self._hostname}
            self.ending.storing(request, about, STARTED)
        if self._events.tells_tasks and policy.sends_events:
            self._events.started(request)

    def end(self, run: Run, outcome: Outcome) -> None:
        """Store the outcome, and go on."""
        delivery, policy = run.delivery, run.policy
        assert policy is not None  # noqa: S101 - it was admitted
        delivery.has_run = True
        if outcome.is_lost and policy.retries_lost:
            outcome = _retried(delivery, outcome)
        if delivery.request.successors:
            outcome = send_successors(delivery.request, delivery.task, outcome)
        settle = None
        if not run.is_settled:
            settle = partial(self.settling.settle, delivery)
        final = self.ending.finish(delivery.request, policy, outcome, settle)
        if final is None:
            run.is_settled = True
            if delivery.is_forgotten:
                # The broker has it no more: a worker that is killed would lose what
                # waits here.
                self.ending.volley.store()
        else:
            run.settlement = policy.settlement(final)

    def rescue(self, run: Run, exc: BaseException) -> None:
        """Fail it, for a step has raised `exc`."""
        outcome = self.ending.rescue(run.delivery.request, run.policy, exc)
        if run.policy is not None:
            run.settlement = run.policy.settlement(outcome)

    def leave(self, run: Run) -> None:
        """Settle its message, if that is not settled."""
        self._roll.end(run.delivery.request)
        if not run.is_settled:
            self.settling.settle(run.delivery, run.settlement)

    def withdraw(self, run: Run) -> None:
        """Note that it does not run now, in place of `leave`."""
        self._roll.withdraw(run.delivery.request)

    def tend(self) -> None:
        """Let results leave that are many, or late, before the slot runs on."""
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

    def _reason_against(self, delivery: Delivery) -> str | None:
        if delivery.expires is not None and time.time() > delivery.expires:
            return "expired"
        self._marks.look(delivery.request)
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
