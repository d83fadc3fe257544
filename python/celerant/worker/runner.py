"""The steps of a run: check a delivery, run it, store its outcome, settle it."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from celerant.common.foreign import traceback_text
from celerant.common.printable import Lines
from celerant.running.ending import Ending
from celerant.running.lateness import Lateness
from celerant.running.logged import logged
from celerant.running.policy import Policy, Settlement
from celerant.running.succession import send_successors
from celerant.running.trace import FAILURE, STARTED, Outcome
from celerant.tasks.control_flow import RETRY
from celerant.worker.cancel_marks import CancelMarks
from celerant.worker.receiving import tell_received, tell_refused
from celerant.worker.settling import Settles

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.host import App
    from celerant.worker.events import Events
    from celerant.worker.message import Delivery
    from celerant.worker.refused import Refused
    from celerant.worker.worker_state import WorkerState

__all__ = ["Runner", "TaskRun"]

logger = logging.getLogger("celerant.worker")

#: The most seconds that a result or an acknowledgement waits for others.
_LATEST = 0.003
#: Seconds that the end of a program waits until its last messages are settled.
_FAREWELL = 2.0


@dataclass(slots=True, eq=False)
class TaskRun:
    """A delivery that a slot runs, with the state of its settlement."""

    delivery: Delivery
    #: None until the run is admitted.
    policy: Policy | None = None
    #: The settlement of its message.
    settlement: Settlement = Settlement.ACK
    #: Whether the message is settled, or will be without `leave`.
    is_settled: bool = False
    #: How many processes have died just before they began it.
    deaths: int = 0
    #: Whether the process that runs it stores the state STARTED.
    is_started_there: bool = False


class Runner:
    """Takes deliveries through the steps of a run, in the threads of a pool.

    Each run begins with `admit` and ends with `leave`. If a step between them raises,
    `rescue` fails the run.
    """

    def __init__(
        self, app: App, *, hostname: str, worker_state: WorkerState, events: Events
    ) -> None:
        """Prepare; `settling` is set before the first run.

        Args:
            app: Its backend stores outcomes, and it sends later tasks.
            hostname: The worker's name.
            worker_state: Notes running tasks, and knows the revoked ones.
            events: Tell monitors of tasks.
        """
        self._worker_state = worker_state
        self._marks = CancelMarks(app, worker_state.revoked)
        self._events = events
        self.ending = Ending(app, events)
        #: Settles messages: the source or a part of it.
        self.settling = Settles()
        self._lateness = Lateness(self._tend, _LATEST, f"{hostname} late")
        #: Stores waiting results and settles messages a little later.
        self.ask_later = self._lateness.ask
        self._hostname = hostname
        self._policies: dict[str, Policy] = {}

    def one_by_one(
        self, call: Callable[[Delivery], Outcome]
    ) -> Callable[[Delivery], None]:
        """Return a function that takes a delivery through all steps; it never raises.

        Args:
            call: Runs the task of a delivery.
        """

        def execute(delivery: Delivery) -> None:
            run = TaskRun(delivery)
            try:
                if self.admit(run):
                    self.begin(run)
                    self.end(run, call(delivery))
            except BaseException as exc:  # noqa: BLE001 - a task must not end its slot
                self.rescue(run, exc)
            finally:
                self.leave(run)
            self.tend()

        return execute

    def admit(self, run: TaskRun) -> bool:
        """Note that a run begins; return whether it may. If it may not, end it."""
        delivery = run.delivery
        request, name = delivery.request, delivery.task.name
        # Noted before it is checked: a command that revokes it in between finds it
        # running and ends it.
        self._worker_state.begin(request)
        policy = self._policies.get(name)
        if policy is None:
            policy = self._policies[name] = Policy.of(delivery.task)
        run.policy = policy
        return self.may_run(run)

    def may_run(self, run: TaskRun) -> bool:
        """Whether a run is neither revoked nor expired; if it is, end it."""
        reason, policy = self._reason_against(run.delivery), run.policy
        if reason is None:
            return True
        assert policy is not None  # noqa: S101 - it was admitted
        outcome = self.ending.discard(run.delivery.request, policy, reason)
        run.settlement = policy.settlement(outcome)
        return False

    def begin(self, run: TaskRun) -> None:
        """Acknowledge, store "started" and tell monitors, as the options say."""
        delivery, policy = run.delivery, run.policy
        assert policy is not None  # noqa: S101 - it was admitted
        request = delivery.request
        if not policy.acks_late:
            run.is_settled = self.settling.settle_early(delivery)
        if self.stores_started(run) and not run.is_started_there:
            about = {"pid": os.getpid(), "hostname": self._hostname}
            self.ending.storing(request, about, STARTED)
        if self._events.tells_tasks and policy.sends_events:
            self._events.started(request)

    @staticmethod
    def stores_started(run: TaskRun) -> bool:
        """Whether the state STARTED is stored for an admitted run."""
        policy = run.policy
        assert policy is not None  # noqa: S101 - it was admitted
        return policy.tracks_started and not run.delivery.request.ignore_result

    def shows_value(self, run: TaskRun) -> bool:
        """Whether a log or an event shows what the task of an admitted run returns."""
        policy = run.policy
        assert policy is not None  # noqa: S101 - it was admitted
        return logger.isEnabledFor(logging.INFO) or (
            self._events.tells_tasks and policy.sends_events
        )

    def end(self, run: TaskRun, outcome: Outcome) -> None:
        """Store the outcome and send the later tasks."""
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
            if (
                delivery.is_forgotten
                and len(self.ending.volley) >= self._worker_state.running
            ):
                # It is acknowledged: if the worker is killed, a waiting result is lost.
                # No more wait than tasks run, which are lost then, too.
                self.ending.volley.store()
            # It must not wait until this slot's next task has ended.
            self.ask_later()
        else:
            run.settlement = policy.settlement(final)

    def rescue(self, run: TaskRun, exc: BaseException) -> None:
        """Fail a run because a step has raised `exc`."""
        outcome = self.ending.rescue(run.delivery.request, run.policy, exc)
        if run.policy is not None:
            run.settlement = run.policy.settlement(outcome)

    def leave(self, run: TaskRun) -> None:
        """Note that a run has ended, and settle its message if nothing else has."""
        self._worker_state.end(run.delivery.request)
        if not run.is_settled:
            self.settling.settle(run.delivery, run.settlement)

    def withdraw(self, run: TaskRun) -> None:
        """Note that a run does not begin now; called in place of `leave`."""
        self._worker_state.withdraw(run.delivery.request)

    def tend(self) -> None:
        """Store waiting results if they are many or late; called between two runs."""
        if self.ending.volley:
            self.ending.volley.store_due()

    def rest(self) -> None:
        """Store and settle all that waits; called when a slot has no more to run."""
        self.ending.volley.store()
        self.ending.volley.wait()
        self.settling.tell()

    def part(self) -> None:
        """Store and settle all that waits, before the interpreter ends threads."""
        self.rest()
        self.settling.wait(_FAREWELL)

    def _tend(self) -> None:
        is_all = True
        try:
            is_all = self.ending.volley.store_late()
        except BaseException as exc:  # noqa: BLE001 - later results must still be stored
            logger.error(  # noqa: TRY400 - the text may run the exception's own code
                "storing results failed%s", Lines(traceback_text(exc))
            )
        if not self.settling.tell_late() or not is_all:
            self.ask_later()

    def close(self) -> None:
        """Store and settle all that waits; called once no slot runs."""
        self._lateness.close()
        self.rest()

    def _reason_against(self, delivery: Delivery) -> str | None:
        if _has_expired(delivery):
            return "expired"
        self._marks.look(delivery.request)
        return "revoked" if self._worker_state.revoked.cover(delivery.request) else None

    def receive(self, delivery: Delivery) -> None:
        """Tell of a message that has come.

        As in Celery, it is told as revoked alone if it is known to be so by now.
        """
        revoked = self._worker_state.revoked
        if _has_expired(delivery) or revoked.cover(delivery.request):
            return
        tell_received(delivery, self._hostname)
        if self._events.tells_tasks:
            with logged("telling monitors of", delivery.request):
                self._events.received(delivery)

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
        except BaseException as exc:  # noqa: BLE001 - a message must not end a slot
            self.ending.rescue(request, None, exc)


def _has_expired(delivery: Delivery) -> bool:
    return delivery.expires is not None and time.time() > delivery.expires


def _retried(delivery: Delivery, outcome: Outcome) -> Outcome:
    """Return a retry of a task whose process died, if it has retries left."""
    retry = delivery.task.retry_lost(delivery.request, outcome.exception)
    if retry is None:
        # Not marked as lost: the broker must not deliver it again.
        return Outcome(FAILURE, exception=outcome.exception, runtime=outcome.runtime)
    return Outcome(RETRY, exception=retry, runtime=outcome.runtime)
