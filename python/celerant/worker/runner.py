"""From a delivery to its stored result: settle, run, store, log."""

from __future__ import annotations

import enum
import logging
import os
import reprlib
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu.exceptions import EncodeError as KombuEncodeError

from celerant.errors import EncodeError
from celerant.worker.named import encode_error, task_revoked
from celerant.worker.trace import FAILURE, REVOKED, STARTED, SUCCESS, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.canvas.request import Request
    from celerant.worker.events import Events
    from celerant.worker.host import ResultStore, Runnable
    from celerant.worker.message import Delivery, Refused
    from celerant.worker.pool import Engine
    from celerant.worker.roll import Roll

__all__ = ["Runner", "Settlement"]

logger = logging.getLogger("celerant.worker")

#: What a backend raises for a value it cannot write, rather than for being away.
_UNWRITABLE = (
    EncodeError,
    KombuEncodeError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
#: Seconds between attempts to store a result while the backend is away; about a
#: minute in all, the time a Redis takes to restart.
_STORE_PAUSES = (0.1, 0.2, 0.5, *[1.0] * 5, *[5.0] * 10)


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
        backend: ResultStore | None,
        *,
        hostname: str,
        roll: Roll,
        events: Events,
    ) -> None:
        """Run in `engine`, store in `backend`; set `settle` before the first call.

        `roll` is told what runs, and tells what is revoked; `events` go to monitors.
        """
        self._engine = engine
        self._roll = roll
        self._events = events
        self._backend = backend
        self.settle: Callable[[Delivery, Settlement], None] = _untold
        self._hostname = hostname
        self._abandoned = threading.Event()
        self._unsupported: set[str] = set()
        self._policies: dict[str, _Policy] = {}

    def abandon(self) -> None:
        """Wait no more for a backend that is away."""
        self._abandoned.set()

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
            self._store(request, about, STARTED, None)
        if self._events.tells_tasks and policy.sends_events:
            self._events.started(request)
        return self._finish(request, policy, self._engine.run(delivery))

    def refuse(self, refused: Refused, queue: str) -> None:
        """Store the failure of a message that cannot run, and log it once."""
        request = refused.request
        task_id = "without an id" if request is None else request.id
        logger.error(
            "message %s from queue %r refused: %s", task_id, queue, refused.reason
        )
        if request is not None and not request.ignore_result:
            self._store(request, refused.exception, FAILURE, None)
        if request is not None and self._events.tells_tasks:
            self._events.refused(request, refused.exception)

    def _discard(self, request: Request, policy: _Policy, reason: str) -> None:
        logger.info("task %s[%s] is revoked: %s", request.task, request.id, reason)
        if not request.ignore_result or policy.stores_errors:
            self._store(request, task_revoked(reason), REVOKED, None)
        if self._events.tells_tasks and policy.sends_events:
            self._events.revoked(request, expired=reason == "expired")

    def _finish(self, request: Request, policy: _Policy, outcome: Outcome) -> Outcome:
        if outcome.state == SUCCESS:
            self._warn_of_unsupported(request)
            if not request.ignore_result:
                problem = self._store(request, outcome.value, SUCCESS, None)
                if problem is not None:
                    outcome = Outcome(
                        FAILURE, exception=problem, runtime=outcome.runtime
                    )
        wanted = not request.ignore_result or policy.stores_errors
        verdict = _verdict(policy, outcome)
        comes_again = verdict is Settlement.REQUEUE
        if outcome.state != SUCCESS and wanted and not comes_again:
            self._store(request, outcome.exception, outcome.state, outcome.traceback)
        _log(request, policy, outcome)
        if self._events.tells_tasks and policy.sends_events:
            if verdict is not Settlement.ACK:
                self._events.rejected(request, requeue=comes_again)
            if not comes_again:
                self._events.finished(request, outcome)
        return outcome

    def _store(
        self, request: Request, result: Any, state: str, traceback: str | None
    ) -> Exception | None:
        """Store, waiting for a backend that is away; return why it cannot be."""
        if self._backend is None:
            return None
        for pause in (*_STORE_PAUSES, None):
            try:
                self._backend.store_result(
                    request.id, result, state, traceback, request=request
                )
            except _UNWRITABLE as exc:
                if state == SUCCESS:
                    return encode_error(
                        f"the task returned {reprlib.repr(result)} of type "
                        f"{type(result).__name__}, which cannot be stored ({exc}); "
                        f"return plain data or set result_serializer"
                    )
                logger.exception("state %s of %s cannot be stored", state, request.id)
                return None
            except Exception as exc:
                if pause is None or self._abandoned.wait(pause):
                    logger.exception(
                        "state %s of task %s[%s] is lost: the result backend is away",
                        state,
                        request.task,
                        request.id,
                    )
                    return None
                logger.warning(
                    "result backend is away (%s: %s); task %s[%s] is stored later",
                    type(exc).__name__,
                    exc,
                    request.task,
                    request.id,
                )
            else:
                return None
        return None

    def _warn_of_unsupported(self, request: Request) -> None:
        if not (request.callbacks or request.chain or request.chord):
            return
        if request.task not in self._unsupported:
            self._unsupported.add(request.task)
            logger.warning(
                "task %s carries callbacks, a chain or a chord, which this worker does "
                "not send; use a celery worker (app.to_celery()) for such canvases",
                request.task,
            )


def _untold(_delivery: Delivery, _settlement: Settlement) -> None:
    """Tell no broker: the message came from none."""


def _verdict(policy: _Policy, outcome: Outcome) -> Settlement:
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
    elif isinstance(exc, policy.throws):
        logger.info("task %s[%s] raised expected: %s", name, request.id, _shown(exc))
    else:
        logger.error(
            "task %s[%s] raised unexpected: %s%s",
            name,
            request.id,
            _shown(exc),
            f"\n{outcome.traceback.rstrip()}" if outcome.traceback else "",
        )


def _shown(exc: BaseException | None) -> str:
    try:
        return repr(exc)
    except Exception:  # noqa: BLE001 - a hostile `__repr__` must not win
        return type(exc).__name__
