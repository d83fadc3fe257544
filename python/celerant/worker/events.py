"""Events, as Celery's: a worker tells monitors of its tasks and of itself.

No event is sent before `enable`. Callers check `tells_tasks`, so a worker without
monitors spends nothing on events.
Source: ``celery.events`` and ``celery.worker.request`` of celery 5.7.0.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from typing import TYPE_CHECKING, Any

from celerant._core import build_info
from celerant.running.trace import FAILURE, REVOKED, SUCCESS, Outcome
from celerant.tasks.control_flow import RETRY
from celerant.worker.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.request import Request
    from celerant.worker.message import Delivery
    from celerant.worker.worker_state import WorkerState

__all__ = ["Events"]

#: Seconds between heartbeats. Monitors give a worker up after a minute without one.
_INTERVAL = 2.0
#: How many characters of a result an event has: Celery's ``resultrepr_maxsize``.
_MOST_OF_RESULT = 1024
_SOFTWARE = {
    "sw_ident": "celerant",
    "sw_ver": build_info().get("version", ""),
    "sw_sys": platform.system(),
}


class Events:
    """Sends the events of one worker, from any thread, as Celery's workers do."""

    def __init__(
        self,
        connect: Callable[[], Any],
        conf: Any,
        *,
        hostname: str,
        worker_state: WorkerState,
    ) -> None:
        """Send nothing yet.

        Args:
            connect: Returns a new connection, not yet connected.
            conf: The app's settings.
            hostname: The worker's name.
            worker_state: Has the numbers of heartbeats and the revoked tasks.
        """
        self._worker_state = worker_state
        self._lock = threading.Lock()
        self._is_closed = False
        self._says = "worker-online"
        #: Whether events of tasks are sent.
        self.tells_tasks = False
        self._outbox = Outbox(
            connect,
            hostname=hostname,
            exchange=conf.event_exchange or "celeryev",
            serializer=conf.event_serializer or "json",
            clock=worker_state.clock,
            beat=self._beat,
            interval=_INTERVAL,
        )

    def enable(self) -> bool:
        """Send events of tasks and of the worker; return whether that is new."""
        with self._lock:
            if self.tells_tasks or self._is_closed:
                return False
            self._outbox.start()
            self.tells_tasks = True
            return True

    def disable(self) -> bool:
        """Send no more events of tasks; return whether that is new."""
        with self._lock:
            told, self.tells_tasks = self.tells_tasks, False
            return told

    def close(self) -> None:
        """Send that the worker goes offline, and end."""
        with self._lock:
            self.tells_tasks, self._is_closed = False, True
            if self._outbox.is_running:
                self._tell_worker("worker-offline")
            self._outbox.close()

    # -- of the worker -----------------------------------------------------------------

    def heartbeat(self) -> None:
        """Send a heartbeat now."""
        if self._outbox.is_running:
            self._tell_worker("worker-heartbeat")

    def _beat(self) -> None:
        self._tell_worker(self._says)
        self._says = "worker-heartbeat"

    def _tell_worker(self, kind: str) -> None:
        about = {
            "freq": _INTERVAL,
            "active": len(self._worker_state.active()),
            "processed": sum(self._worker_state.total().values()),
            "loadavg": _load_average(),
        }
        self._outbox.put(kind, about | _SOFTWARE)

    # -- of tasks ----------------------------------------------------------------------

    def received(self, delivery: Delivery) -> None:
        """Send that a message has come, unless its task will certainly not run."""
        request = delivery.request
        if delivery.task.send_events is False or self._worker_state.revoked.cover(
            request
        ):
            return
        if delivery.expires is not None and time.time() > delivery.expires:
            return
        fields = {
            "uuid": request.id,
            "name": request.shadow or request.task,
            "args": request.argsrepr or "",
            "kwargs": request.kwargsrepr or "",
            "root_id": request.root_id,
            "parent_id": request.parent_id,
            "retries": request.retries or 0,
            "eta": request.eta,
            "expires": request.expires,
        }
        self._outbox.put("task-received", fields)

    def started(self, request: Request) -> None:
        """Send that a task begins."""
        self._outbox.put("task-started", {"uuid": request.id})

    def finished(self, request: Request, outcome: Outcome) -> None:
        """Send the outcome of a task that ran."""
        about: dict[str, Any] = {"uuid": request.id}
        if outcome.state == SUCCESS:
            about["result"] = _shown(outcome.value)
            about["runtime"] = outcome.runtime
            self._outbox.put("task-succeeded", about)
        elif outcome.state == FAILURE:
            about["exception"] = _shown(outcome.exception)
            about["traceback"] = outcome.traceback
            self._outbox.put("task-failed", about)
        elif outcome.state == RETRY:
            about["exception"] = _shown(outcome.result)
            about["traceback"] = outcome.traceback
            self._outbox.put("task-retried", about)
        elif outcome.state == REVOKED:
            self.revoked(request, terminated=True)

    def revoked(
        self, request: Request, *, terminated: bool = False, expired: bool = False
    ) -> None:
        """Send that a task does not run, or does not run to its end."""
        about = {
            "uuid": request.id,
            "terminated": terminated,
            # The number of the signal is not kept.
            "signum": None,
            "expired": expired,
        }
        self._outbox.put("task-revoked", about)

    def rejected(self, request: Request, *, requeue: bool) -> None:
        """Send that the broker takes a message back, or drops it."""
        self._outbox.put("task-rejected", {"uuid": request.id, "requeue": requeue})

    def refused(self, request: Request, exception: BaseException) -> None:
        """Send that a message was refused."""
        about = {"uuid": request.id, "exception": _shown(exception)}
        self._outbox.put("task-failed", about)


def _load_average() -> list[float]:
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except (AttributeError, OSError):
        # Windows has none, and some containers hide it.
        return [0.0, 0.0, 0.0]


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile `__repr__` changes nothing
        text = f"<{type(value).__name__}>"
    cut = text if len(text) <= _MOST_OF_RESULT else text[: _MOST_OF_RESULT - 3] + "..."
    # A lone surrogate is no UTF-8, so no broker takes it.
    return cut.encode(errors="backslashreplace").decode()
