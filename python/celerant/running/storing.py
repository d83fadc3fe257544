"""Store the outcomes of tasks, of any kind, also while the result backend is away."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.foreign import args_of, class_name, is_a, said, stored_as
from celerant.common.printable import shown
from celerant.common.stock_errors import encode_error, named_exception
from celerant.context.request import Request
from celerant.running.trace import FAILURE, STARTED, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.running.host import ResultStore
    from celerant.running.volley import Record

__all__ = ["Storing", "Unstorable"]

logger = logging.getLogger("celerant.worker")

#: Seconds for which a running worker tries again, beyond the backend's own retry
#: policy: the time a Redis takes to restart.
_PATIENCE = 60.0
#: Seconds between two attempts: doubled each time, to the second.
_PAUSE_FIRST, _PAUSE_LONGEST = 0.1, 5.0
#: How many ids the last log line of a stop names.
_MOST_NAMED = 10


class Unstorable(Exception):  # noqa: N818 - a verdict on a value, not our fault
    """A value cannot be stored; its task fails with `problem`."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(problem)
        self.problem = problem


class Storing:
    """Writes to a backend from the threads of a pool.

    First a result becomes bytes, by code that may be the result's own: an error there
    does not come from the backend. Then the bytes are written. One attempt lasts as
    long as the backend's retry policy; a running worker makes more of them, and one
    that stops makes a last one, so that a stop ends.
    """

    def __init__(self, backend: ResultStore | None) -> None:
        """Store in `backend`; None stores nothing."""
        self._backend = backend
        self._stopping = threading.Event()
        self._is_away = self._is_abandoned = False
        self._lost: list[str] = []

    def stop(self) -> None:
        """Make one last attempt for each result from now on."""
        self._stopping.set()

    def abandon(self) -> None:
        """Make no more attempts."""
        self._is_abandoned = True
        self._stopping.set()

    def report(self) -> None:
        """Log the losses since the last report."""
        lost, self._lost = self._lost, []
        if lost:
            more = len(lost) - _MOST_NAMED
            logger.error(
                "%d states were not stored, for the result backend was away: %s%s",
                len(lost),
                ", ".join(lost[:_MOST_NAMED]),
                f" and {more} more" if more > 0 else "",
            )

    def __call__(
        self, request: Request, result: Any, state: str, traceback: str | None = None
    ) -> Exception | None:
        """Store, waiting for a backend that is away.

        Returns:
            Why a value cannot be stored; then its task fails.
        """
        try:
            payload = self.encoded(request, result, state, traceback)
        except Unstorable as exc:
            return exc.problem
        if payload is not None:
            self._store(request, payload, state)
        return None

    def _store(self, request: Request, payload: bytes, state: str) -> None:
        assert self._backend is not None  # noqa: S101 - the caller has encoded it
        write = partial(
            self._backend.store_encoded, request.id, payload, state, request=request
        )
        self._persist(write, [request], f"state {state}", once=state == STARTED)

    @property
    def stores_many(self) -> bool:
        """Whether the backend stores many records at a time."""
        return getattr(self._backend, "stores_many", False)

    def many(self, records: Sequence[Record]) -> None:
        """Store the record of `encoded`, waiting for a backend that is away."""
        backend: Any = self._backend
        rows = [(one.request.id, one.payload, one.state) for one in records]
        requests = [one.request for one in records]
        write = partial(backend.store_many, rows, requests)
        if not self._persist(write, requests, "state"):
            # One of them may be the reason.
            for one in records:
                self._store(one.request, one.payload, one.state)

    def encoded(
        self, request: Request, result: Any, state: str, traceback: str | None = None
    ) -> bytes | None:
        """Return the record to store; None if nothing is stored.

        Raises:
            Unstorable: A value cannot be stored; then its task fails.
        """
        if self._backend is None:
            return None
        encode = self._backend.encode_result
        try:
            return encode(request.id, result, state, traceback, request=request)
        except BaseException as exc:  # noqa: BLE001 - the result's own code may raise it
            if state == SUCCESS:
                raise Unstorable(encode_error(_unstorable(result, exc))) from None
            # Plain values, for any serializer, because waiters must hear of it.
            plain = stand_in(result) if is_a(result, BaseException) else None
            return encode(request.id, plain, state, traceback, request=_plain(request))

    def storable(self, exc: BaseException) -> BaseException:
        """Return an exception that can be stored: itself, or one of the same name."""
        if self._backend is None:
            return exc
        try:
            self._backend.encode_result("", exc, FAILURE)
        except BaseException:  # noqa: BLE001 - the exception's own code may raise it
            return stand_in(exc)
        return exc

    def patiently(
        self,
        act: Callable[[], Any],
        request: Request,
        what: str,
        *,
        once: bool = False,
        lost: Any = None,
    ) -> Any:
        """Return the value of `act` on the backend, or `lost` if it fails.

        Args:
            act: Called again if the backend is away.
            request: The task's.
            what: The name of the loss, for the log.
            once: Whether one attempt is enough, and the loss not worth a report.
            lost: Returned if `what` is lost.
        """
        done = lost

        def keep() -> None:
            nonlocal done
            done = act()

        self._persist(keep, [request], what, once=once)
        return done

    def _persist(
        self,
        act: Callable[[], Any],
        requests: Sequence[Request],
        what: str,
        *,
        once: bool = False,
    ) -> bool:
        """Call `act` until the backend takes it, or its records are lost.

        Returns:
            False if the backend refuses one of several: the caller tries them one by
            one, and nothing is logged yet.
        """
        pause, until = _PAUSE_FIRST, 0.0
        while True:
            is_last = once or self._stopping.is_set()
            try:
                act()
            except Exception as exc:  # noqa: BLE001 - it is not done, whatever the reason
                told = f"{class_name(exc)}: {said(exc)}"
                if self._backend is None or not self._backend.is_away(exc):
                    if len(requests) > 1:
                        return False
                    reason = f"the result backend refuses it ({told})"
                    self._lose(requests[0], what, reason)
                    return True
                self._is_away = True
                until = until or monotonic() + _PATIENCE
                is_last = is_last or monotonic() + pause > until
                if is_last or self._is_abandoned:
                    for request in requests:
                        reason = f"the result backend is away ({told})"
                        self._lose(request, what, reason)
                    if not once:
                        self._lost += [request.id for request in requests]
                    return True
                logger.warning(
                    "result backend is away (%s); task %s[%s]%s is stored later",
                    told,
                    requests[0].task,
                    requests[0].id,
                    "" if len(requests) == 1 else f" and {len(requests) - 1} more",
                )
                self._stopping.wait(pause)
                pause = min(pause * 2, _PAUSE_LONGEST)
            else:
                self._is_away = False
                return True

    def at_once(self, request: Request, result: Any, state: str) -> None:
        """Store unless a worker that stops knows that the backend is away.

        For refused messages, of which many in a row would hold up a stop.
        """
        if self._stopping.is_set() and self._is_away:
            reason = "the result backend is away (the worker stops)"
            self._lose(request, f"state {state}", reason)
            self._lost.append(request.id)
        else:
            self(request, result, state)

    @staticmethod
    def _lose(request: Request, what: str, reason: str) -> None:
        logger.error(
            "%s of task %s[%s] is lost: %s", what, request.task, request.id, reason
        )


def stand_in(exc: BaseException) -> Exception:
    """Return the record in place of an exception that cannot be stored."""
    name, module = stored_as(type(exc))
    args = (arg if type(arg) is str else shown(arg) for arg in args_of(exc))
    return named_exception(name, module, *args)


def _plain(request: Request) -> Request:
    """Return the fields of a request that any serializer takes."""
    return Request(
        request.id,
        request.task,
        group=request.group,
        parent_id=request.parent_id,
        root_id=request.root_id,
    )


def _unstorable(result: Any, exc: BaseException) -> str:
    return (
        f"the task returned {shown(result)} of type {class_name(result)}, which cannot "
        f"be stored ({said(exc)}); return plain data or set result_serializer"
    )
