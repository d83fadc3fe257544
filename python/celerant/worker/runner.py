"""From a delivery to its stored result: settle, run, store, log."""

from __future__ import annotations

import enum
import logging
import os
import reprlib
import time
from typing import TYPE_CHECKING, NamedTuple

from celerant.errors import Reject
from celerant.telling import Lines
from celerant.worker.continuation import Continuation
from celerant.worker.control_flow import IGNORED, REJECTED, RETRY
from celerant.worker.named import task_revoked
from celerant.worker.storing import Storing
from celerant.worker.succession import send_successors
from celerant.worker.trace import FAILURE, REVOKED, STARTED, SUCCESS, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.canvas.request import Request
    from celerant.worker.events import Events
    from celerant.worker.host import Runnable, WorkerApp
    from celerant.worker.message import Delivery, Refused
    from celerant.worker.pool import Engine
    from celerant.worker.roll import Roll

__all__ = ["Runner", "Settlement"]

logger = logging.getLogger("celerant.worker")


#: A success is stored before; what is ignored or comes again leaves no record.
_STORED_HERE = frozenset({FAILURE, REVOKED, RETRY})


class Settlement(enum.Enum):
    """What the broker is told of a message."""

    ACK = "ack"
    REJECT = "reject"
    REQUEUE = "requeue"


class _Policy(NamedTuple):
    """What a task's options say of its runs, looked up once for each worker."""

    acks_late: bool
    acks_on_failure: bool
    rejects_lost: bool
    tracks_started: bool
    stores_errors: bool
    sends_events: bool
    throws: tuple[type[BaseException], ...]

    @classmethod
    def of(cls, task: Runnable) -> _Policy:
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


class Runner:
    """Executes deliveries in the threads of a pool."""

    def __init__(
        self,
        engine: Engine,
        app: WorkerApp,
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
        #: What stores results.
        self.storing = Storing(app.backend)
        #: What goes on after tasks.
        self.continuation = Continuation(app, self.storing)
        self.settle: Callable[[Delivery, Settlement], None] = _untold
        self._hostname = hostname
        self._policies: dict[str, _Policy] = {}

    def __call__(self, delivery: Delivery) -> None:
        """Execute one delivery; its task's failure is stored and not raised."""
        request, task = delivery.request, delivery.task
        policy = self._policies.get(task.name)
        if policy is None:
            policy = self._policies[task.name] = _Policy.of(task)
        if not policy.acks_late:
            self.settle(delivery, Settlement.ACK)
        # First on the roll, then the look at what is revoked: a command that comes
        # in between finds it there and ends it.
        self._roll.begin(request)
        try:
            outcome = self._run(delivery, policy)
        finally:
            self._roll.end(request)
        if policy.acks_late:
            self.settle(delivery, _verdict(policy, outcome))

    def _run(self, delivery: Delivery, policy: _Policy) -> Outcome:
        request = delivery.request
        reason = None
        if delivery.expires is not None and time.time() > delivery.expires:
            reason = "expired"
        elif self._roll.revoked.cover(request):
            reason = "revoked"
        if reason is not None:
            self._discard(request, policy, reason)
            return Outcome(REVOKED)
        if policy.tracks_started and not request.ignore_result:
            about = {"pid": os.getpid(), "hostname": self._hostname}
            self.storing(request, about, STARTED)
        if self._events.tells_tasks and policy.sends_events:
            self._events.started(request)
        outcome = self._engine.run(delivery)
        if request.successors:
            outcome = send_successors(delivery, outcome)
        if outcome.state == REJECTED:
            outcome = _rejection(outcome)
        return self._finish(request, policy, outcome)

    def refuse(self, refused: Refused, queue: str) -> None:
        """Store the failure of a message that cannot run, and log it once."""
        request = refused.request
        task_id = "without an id" if request is None else request.id
        logger.error(
            "message %s from queue %r refused: %s", task_id, queue, refused.reason
        )
        if request is not None and not request.ignore_result:
            self.storing.at_once(request, refused.exception, FAILURE)
        if request is not None:
            self.continuation.fail(
                request, refused.exception, is_stored=not request.ignore_result
            )
        if request is not None and self._events.tells_tasks:
            self._events.refused(request, refused.exception)

    def _discard(self, request: Request, policy: _Policy, reason: str) -> None:
        logger.info("task %s[%s] is revoked: %s", request.task, request.id, reason)
        exception = task_revoked(reason)
        is_stored = not request.ignore_result or policy.stores_errors
        if is_stored:
            self.storing(request, exception, REVOKED)
        self.continuation.fail(request, exception, state=REVOKED, is_stored=is_stored)
        if self._events.tells_tasks and policy.sends_events:
            self._events.revoked(request, expired=reason == "expired")

    def _finish(self, request: Request, policy: _Policy, outcome: Outcome) -> Outcome:
        if outcome.state == SUCCESS:
            problem = self._succeed(request, outcome)
            if problem is not None:
                outcome = Outcome(FAILURE, exception=problem, runtime=outcome.runtime)
        wanted = not request.ignore_result or policy.stores_errors
        wanted = wanted and outcome.state in _STORED_HERE
        verdict = _verdict(policy, outcome)
        comes_again = verdict is Settlement.REQUEUE
        if wanted and not comes_again:
            self.storing(request, outcome.result, outcome.state, outcome.traceback)
        if outcome.state in {FAILURE, REVOKED} and not comes_again:
            self.continuation.fail(
                request,
                outcome.exception,
                outcome.traceback,
                state=outcome.state,
                is_stored=wanted,
            )
        _log(request, policy, outcome)
        if self._events.tells_tasks and policy.sends_events:
            if verdict is not Settlement.ACK:
                self._events.rejected(request, requeue=comes_again)
            if not comes_again:
                self._events.finished(request, outcome)
        return outcome

    def _succeed(self, request: Request, outcome: Outcome) -> Exception | None:
        """Go on after a task; return why it has failed nevertheless."""
        problem = self.continuation.send(request, outcome.value)
        if problem is None and not request.ignore_result:
            problem = self.storing(request, outcome.value, SUCCESS)
        if problem is None:
            problem = self.continuation.succeed(request, outcome.value)
        return problem


def _untold(_delivery: Delivery, _settlement: Settlement) -> None:
    """Tell no broker: the message came from none."""


def _rejection(outcome: Outcome) -> Outcome:
    """Return a failure for a message that will not come again, as Celery stores it."""
    exc = outcome.exception
    if isinstance(exc, Reject) and exc.requeue:
        return outcome
    return Outcome(FAILURE, exception=exc, runtime=outcome.runtime)


def _verdict(policy: _Policy, outcome: Outcome) -> Settlement:
    if isinstance(outcome.exception, Reject) and policy.acks_late:
        requeue = outcome.exception.requeue
        return Settlement.REQUEUE if requeue else Settlement.REJECT
    if outcome.state != FAILURE or not policy.acks_late:
        return Settlement.ACK
    if outcome.is_lost and policy.rejects_lost:
        return Settlement.REQUEUE
    if outcome.is_overrun and not policy.acks_on_failure:
        return Settlement.REQUEUE
    return Settlement.ACK if policy.acks_on_failure else Settlement.REJECT


def _log(request: Request, policy: _Policy, outcome: Outcome) -> None:
    name = request.shadow or request.task
    if outcome.state == SUCCESS:
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                "task %s[%s] succeeded in %.6f s: %s",
                name,
                request.id,
                outcome.runtime,
                reprlib.repr(outcome.value),
            )
        return
    exc = outcome.exception
    if outcome.state == REVOKED:
        logger.info("task %s[%s] is revoked: terminated", name, request.id)
    elif outcome.state == RETRY:
        logger.info("task %s[%s] is retried: %s", name, request.id, exc)
    elif outcome.state == IGNORED:
        logger.info("task %s[%s] is ignored", name, request.id)
    elif isinstance(exc, Reject):
        logger.warning("task %s[%s] is rejected: %s", name, request.id, _shown(exc))
    elif isinstance(exc, policy.throws):
        logger.info("task %s[%s] raised expected: %s", name, request.id, _shown(exc))
    else:
        logger.error(
            "task %s[%s] raised unexpected: %s%s",
            name,
            request.id,
            _shown(exc),
            Lines(outcome.traceback or ""),
        )


def _shown(exc: BaseException | None) -> str:
    try:
        return repr(exc)
    except Exception:  # noqa: BLE001 - a hostile `__repr__` must not win
        return type(exc).__name__
