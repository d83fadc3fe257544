"""Every end of a task passes here: it is stored, followed up, logged and reported.

A task may return and raise any object, and its message may hold any: each step here
may meet code of the task's own. An error of such code fails the task and nothing else;
a failure after that is a line in the log.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from celerant.common.foreign import class_name, is_a, said, traceback_text
from celerant.common.printable import Lines, shown
from celerant.common.stock_errors import task_revoked
from celerant.errors import Reject
from celerant.running.continuation import Continuation
from celerant.running.logged import fields, logged
from celerant.running.policy import Settlement
from celerant.running.storing import Storing, Unstorable
from celerant.running.telling import end, internal_error, is_told, revoked, tell_last
from celerant.running.trace import FAILURE, REVOKED, SUCCESS, Outcome
from celerant.running.volley import Record, Volley
from celerant.tasks.control_flow import IGNORED, REJECTED, RETRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.host import App
    from celerant.context.request import Request
    from celerant.running.policy import Policy

__all__ = ["Ending"]

logger = logging.getLogger("celerant.worker")

#: A success is stored before; ignored and requeued tasks leave no record.
_STORED_HERE = frozenset({FAILURE, REVOKED, RETRY})


class Monitors(Protocol):
    """Tells monitors of tasks that have ended."""

    #: Whether anybody listens; callers ask first, so that no listeners cost nothing.
    tells_tasks: bool

    def finished(self, request: Request, outcome: Outcome) -> None:
        """Tell that a task has run."""

    def rejected(self, request: Request, *, requeue: bool) -> None:
        """Tell that a message goes back, or to the dead letters."""

    def revoked(self, request: Request, *, expired: bool) -> None:
        """Tell that a task does not run."""

    def refused(self, request: Request, exception: BaseException) -> None:
        """Tell that a message cannot run."""


class Ending:
    """Ends the tasks of a worker, from the threads of its pool."""

    def __init__(self, app: App, events: Monitors) -> None:
        """Store and go on by `app`; `events` go to monitors."""
        self._events = events
        #: Stores results.
        self.storing = Storing(app.backend)
        #: Sends the tasks that follow.
        self.continuation = Continuation(app, self.storing)
        #: Results that are stored together.
        self.volley = Volley(self.storing)
        self._stores_many = self.storing.stores_many

    def finish(
        self,
        request: Request,
        policy: Policy,
        outcome: Outcome,
        settle: Callable[[Settlement], Any] | None = None,
    ) -> Outcome | None:
        """Store the outcome of a run, and go on.

        Args:
            request: The task's.
            policy: The task's.
            outcome: The run's.
            settle: Settles the message, if it is not settled yet.

        Returns:
            The final outcome; None if it is stored with others, and settled and
            reported after that.
        """
        if outcome.state == REJECTED:
            outcome = _rejection(outcome)
        if outcome.state == SUCCESS:
            if self._may_wait(request, policy):
                problem = self._succeed_later(request, policy, outcome, settle)
                if problem is None:
                    return None
            else:
                problem = self._succeed(request, outcome)
            if problem is not None:
                outcome = Outcome(FAILURE, exception=problem, runtime=outcome.runtime)
        settlement = policy.settlement(outcome)
        if outcome.state in _STORED_HERE and settlement is not Settlement.REQUEUE:
            if self._may_fail_later(request, policy, outcome):
                self._fail_later(request, policy, outcome, settle)
                return None
            self._fail(request, policy, outcome)
        self._tell_all(request, policy, outcome, settlement)
        return outcome

    def _may_wait(self, request: Request, policy: Policy) -> bool:
        """Whether a result may be stored with others, a moment later."""
        return (
            self._stores_many
            # A chord counts stored results, and hooks and signals are called in the
            # slot.
            and not request.chord
            and not request.ignore_result
            and not is_told(policy.task)
        )

    def _succeed_later(
        self,
        request: Request,
        policy: Policy,
        outcome: Outcome,
        settle: Callable[[Settlement], Any] | None,
    ) -> BaseException | None:
        problem = self.continuation.send(request, outcome.value)
        if problem is not None:
            return problem
        try:
            payload = self.storing.encoded(request, outcome.value, SUCCESS)
        except Unstorable as exc:
            return exc.problem
        self._store_later(request, policy, outcome, payload, settle)
        return None

    def _may_fail_later(
        self, request: Request, policy: Policy, outcome: Outcome
    ) -> bool:
        return (
            outcome.state == FAILURE
            and self._may_wait(request, policy)
            # The next tasks are sent once it is stored.
            and not (request.chain or request.errbacks)
        )

    def _fail_later(
        self,
        request: Request,
        policy: Policy,
        outcome: Outcome,
        settle: Callable[[Settlement], Any] | None,
    ) -> None:
        result = outcome.result
        if is_a(result, BaseException):
            result = self.storing.storable(result)
        payload = self.storing.encoded(request, result, FAILURE, outcome.traceback)
        self._store_later(request, policy, outcome, payload, settle)

    def _store_later(
        self,
        request: Request,
        policy: Policy,
        outcome: Outcome,
        payload: bytes | None,
        settle: Callable[[Settlement], Any] | None,
    ) -> None:
        assert payload is not None  # noqa: S101 - there is a backend that stores many
        # Most loggers do not log successes.
        tells = self._events.tells_tasks or (
            outcome.state != SUCCESS or logger.isEnabledFor(logging.INFO)
        )
        then: Callable[[], Any] | None = None
        if tells:
            then = partial(self._after, request, policy, outcome, settle)
        elif settle is not None:
            then = partial(settle, policy.settlement(outcome))
        self.volley.add(Record(request, payload, outcome.state, then))

    def _after(
        self,
        request: Request,
        policy: Policy,
        outcome: Outcome,
        settle: Callable[[Settlement], Any] | None,
    ) -> None:
        """Tell of a result that is stored now, and settle its message."""
        settlement = policy.settlement(outcome)
        try:
            self._tell_all(request, policy, outcome, settlement)
        finally:
            if settle is not None:
                settle(settlement)

    def _tell_all(
        self,
        request: Request,
        policy: Policy,
        outcome: Outcome,
        settlement: Settlement,
    ) -> None:
        if outcome.state != SUCCESS or logger.isEnabledFor(logging.INFO):
            with logged("telling of", request):
                _log(request, policy, outcome)
        if self._events.tells_tasks and policy.sends_events:
            with logged("telling monitors of", request):
                if settlement is not Settlement.ACK:
                    requeue = settlement is Settlement.REQUEUE
                    self._events.rejected(request, requeue=requeue)
                if settlement is not Settlement.REQUEUE:
                    self._events.finished(request, outcome)
        if not outcome.is_told and is_told(policy.task):
            with logged("telling of the end of", request):
                self._tell(request, policy, outcome, settlement)

    @staticmethod
    def _tell(
        request: Request, policy: Policy, outcome: Outcome, settlement: Settlement
    ) -> None:
        task = policy.task
        if outcome.state == REVOKED:
            revoked(task, request, terminated=True)
            return
        has_run = not (outcome.is_lost or outcome.is_overrun)
        if settlement is not Settlement.REQUEUE:
            end(task, request, outcome, has_run=has_run)
        elif has_run:
            tell_last(task, request, outcome)

    def _succeed(self, request: Request, outcome: Outcome) -> BaseException | None:
        """Go on after a task; return why it has failed nevertheless."""
        problem = self.continuation.send(request, outcome.value)
        if problem is None and not request.ignore_result:
            problem = self.storing(request, outcome.value, SUCCESS)
        if problem is None:
            problem = self.continuation.succeed(request, outcome.value)
        return problem

    def _fail(self, request: Request, policy: Policy, outcome: Outcome) -> None:
        stored = not request.ignore_result or policy.stores_errors
        result = outcome.result
        if is_a(result, BaseException):
            result = self.storing.storable(result)
        if stored:
            self.storing(request, result, outcome.state, outcome.traceback)
        if outcome.state != RETRY:
            self.continuation.fail(
                request,
                result,
                outcome.traceback,
                state=outcome.state,
                is_stored=stored,
            )

    def rescue(
        self, request: Request, policy: Policy | None, exc: BaseException
    ) -> Outcome:
        """Fail a task whose end did not pass, so that every wait for it ends."""
        logger.error(
            "task %s[%s] fails, for its end raised %s: %s%s",
            request.task,
            request.id,
            class_name(exc),
            said(exc),
            Lines(traceback_text(exc)),
        )
        outcome = Outcome(FAILURE, exception=self.storing.storable(exc))
        if policy is not None:
            with logged("telling of", request):
                internal_error(policy.task, request, exc)
        stored = not request.ignore_result or (
            policy is not None and policy.stores_errors
        )
        if stored:
            with logged("storing", request):
                self.storing(request, outcome.exception, FAILURE)
        self.continuation.fail(request, outcome.exception, is_stored=stored)
        return outcome

    def discard(self, request: Request, policy: Policy, reason: str) -> Outcome:
        """Store that a task does not run: it is revoked, or has expired."""
        logger.info(
            "task %s[%s] is revoked: %s",
            request.task,
            request.id,
            reason,
            extra=fields(request),
        )
        outcome = Outcome(REVOKED, exception=task_revoked(reason))
        self._fail(request, policy, outcome)
        if self._events.tells_tasks and policy.sends_events:
            with logged("telling monitors of", request):
                self._events.revoked(request, expired=reason == "expired")
        with logged("telling of", request):
            revoked(policy.task, request, expired=reason == "expired")
        return outcome

    def refuse(self, request: Request, exc: Exception) -> None:
        """Store the failure of a message that cannot run."""
        stored = not request.ignore_result
        if stored:
            self.storing.at_once(request, exc, FAILURE)
        self.continuation.fail(request, exc, is_stored=stored)
        if self._events.tells_tasks:
            self._events.refused(request, exc)


def _rejection(outcome: Outcome) -> Outcome:
    """Return a failure for a message that will not come again, as Celery stores it."""
    exc = outcome.exception
    if is_a(exc, Reject) and exc.requeue:
        return outcome
    return Outcome(
        FAILURE, exception=exc, runtime=outcome.runtime, is_told=outcome.is_told
    )


def _log(request: Request, policy: Policy, outcome: Outcome) -> None:
    if outcome.state == SUCCESS and not logger.isEnabledFor(logging.INFO):
        # Of short tasks the fields alone would be a part of the time.
        return
    name, extra = request.shadow or request.task, fields(request)
    if outcome.state == SUCCESS:
        logger.info(
            "task %s[%s] succeeded in %.6f s: %s",
            name,
            request.id,
            outcome.runtime,
            shown(outcome.value),
            extra=extra,
        )
        return
    exc = outcome.exception
    told = shown(exc)
    if outcome.state == REVOKED:
        logger.info("task %s[%s] is revoked: terminated", name, request.id, extra=extra)
    elif outcome.state == RETRY:
        reason = "" if exc is None else said(exc)
        logger.info("task %s[%s] is retried: %s", name, request.id, reason, extra=extra)
    elif outcome.state == IGNORED:
        logger.info("task %s[%s] is ignored", name, request.id, extra=extra)
    elif is_a(exc, Reject):
        logger.warning(
            "task %s[%s] is rejected: %s", name, request.id, told, extra=extra
        )
    elif is_a(exc, policy.throws):
        logger.info(
            "task %s[%s] raised expected: %s", name, request.id, told, extra=extra
        )
    else:
        logger.error(
            "task %s[%s] raised unexpected: %s%s",
            name,
            request.id,
            told,
            Lines(outcome.traceback or ""),
            extra=extra,
        )
