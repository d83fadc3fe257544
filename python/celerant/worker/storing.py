"""Store what came of tasks, also while the result backend is away."""

from __future__ import annotations

import logging
import reprlib
import threading
import time
from typing import TYPE_CHECKING, Any

from kombu.exceptions import EncodeError as KombuEncodeError

from celerant.errors import EncodeError
from celerant.worker.named import encode_error
from celerant.worker.trace import STARTED, SUCCESS

if TYPE_CHECKING:
    from celerant.canvas.request import Request
    from celerant.worker.host import ResultStore

__all__ = ["Storing"]

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
#: Seconds for which a running worker tries again, beyond the backend's own retry
#: policy: the time a Redis takes to restart.
_PATIENCE = 60.0
#: Seconds between two attempts: doubled each time, to the second.
_PAUSE_FIRST, _PAUSE_LONGEST = 0.1, 5.0
#: Ids that the last line of a stop names.
_MOST_NAMED = 10


class Storing:
    """Writes to a backend from the threads of a pool.

    One attempt lasts as long as the backend's retry policy. A running worker makes
    more of them; one that stops makes a last one, so that a stop ends.
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
        """Log what was lost since the last report."""
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
        """Store, waiting for a backend that is away; return why it cannot be."""
        if self._backend is None:
            return None
        pause, until = _PAUSE_FIRST, 0.0
        while True:
            is_last = self._stopping.is_set() or state == STARTED
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
            except Exception as exc:  # noqa: BLE001 - whatever it was, it is not stored
                self._is_away = True
                until = until or time.monotonic() + _PATIENCE
                is_last = is_last or time.monotonic() + pause > until
                if is_last or self._is_abandoned:
                    self._lose(request, state, exc)
                    return None
                logger.warning(
                    "result backend is away (%s: %s); task %s[%s] is stored later",
                    type(exc).__name__,
                    exc,
                    request.task,
                    request.id,
                )
                self._stopping.wait(pause)
                pause = min(pause * 2, _PAUSE_LONGEST)
            else:
                self._is_away = False
                return None

    def at_once(self, request: Request, result: Any, state: str) -> None:
        """Store unless a worker that stops knows that the backend is away.

        For the thread that consumes, where many in a row would hold up a stop.
        """
        if self._stopping.is_set() and self._is_away:
            self._lose(request, state, ConnectionError("the worker stops"))
        else:
            self(request, result, state)

    def _lose(self, request: Request, state: str, exc: Exception) -> None:
        logger.error(
            "state %s of task %s[%s] is lost: the result backend is away (%s: %s)",
            state,
            request.task,
            request.id,
            type(exc).__name__,
            exc,
        )
        if state != STARTED:
            self._lost.append(request.id)
