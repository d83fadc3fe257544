"""The part of a worker that remote control uses."""

from __future__ import annotations

import logging
import signal as signals
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.stock_errors import task_revoked
from celerant.running.trace import REVOKED
from celerant.worker.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.context.host import App
    from celerant.worker.events import Events
    from celerant.worker.message import Delivery
    from celerant.worker.pool import Engine, Pool
    from celerant.worker.source import Source
    from celerant.worker.worker_state import WorkerState

__all__ = ["Panel"]

logger = logging.getLogger("celerant.worker")

#: States of tasks that no worker runs; a revoked one may be stored as such.
_UNSTARTED = frozenset({None, "PENDING", "RECEIVED", "RETRY", "REJECTED"})


class Panel:
    """Carries out the commands of remote control, in the thread that consumes."""

    def __init__(  # noqa: PLR0913 - what the worker joins here
        self,
        *,
        app: App,
        hostname: str,
        worker_state: WorkerState,
        events: Events,
        engine: Engine,
        shutdown: Callable[[], Any],
    ) -> None:
        """Command these parts of a worker; `join` adds the rest.

        Args:
            app: The worker's app.
            hostname: The worker's name.
            worker_state: The tasks that it runs, has run and must not run.
            events: Its events.
            engine: Runs its tasks.
            shutdown: Called to stop the worker; it does not wait for the stop.
        """
        self.app = app
        self.hostname = hostname
        self.worker_state = worker_state
        self.events = events
        self.engine = engine
        self.shutdown = shutdown
        self.since = monotonic()
        #: Tells the worker from others, which may have its name.
        self.identity = uuid.uuid4().hex
        self.source: Source
        self._slots: Pool
        self._marker: ThreadPoolExecutor | None = None
        self._is_closed = False

    def join(self, source: Source, slots: Pool) -> None:
        """Add the source and the pool; called before the first command."""
        self.source, self._slots = source, slots

    def unstarted(self) -> list[Delivery]:
        """Return the deliveries that the worker holds and has not begun."""
        return self.source.unstarted()

    def pool(self) -> dict[str, Any]:
        """Return the pool's part of ``celery inspect stats``."""
        return {
            "implementation": self.engine.name,
            "max-concurrency": self._slots.size,
            "processes": self.engine.pids(),
        }

    def resize(self, more: int) -> None:
        """Run `more` tasks more at a time; fewer, if `more` is negative.

        Raises:
            ValueError: No slot would be left.
        """
        size = self._slots.size + more
        if size < 1:
            msg = f"the pool has {self._slots.size} slots and must keep one"
            raise ValueError(msg)
        # Children come before their slots and go after them, so each slot has one.
        if more > 0:
            self.engine.resize(more)
        self._slots.resize(size)
        if more < 0:
            self.engine.resize(more)
        self.source.resize(size)
        logger.info("the pool has %d slots now", size)

    def handle(self, command: str, arguments: dict[str, Any]) -> Any:
        """Carry out a command and return its reply; an error is a reply too."""
        found = COMMANDS.get(command)
        if found is None:
            return {"error": f"this worker knows no command {command!r}"}
        try:
            return found(self, **arguments)
        except Exception as exc:
            logger.exception("remote control command %s failed", command)
            return {"error": repr(exc)}

    def close(self) -> None:
        """End the thread that stores revoked tasks; called once no command comes."""
        self._is_closed = True
        if self._marker is not None:
            self._marker.shutdown(wait=False, cancel_futures=True)

    # -- what the commands do ----------------------------------------------------------

    def revoke_ids(self, ids: set[str]) -> None:
        """Revoke tasks, and store those that do not run here as revoked."""
        self.worker_state.revoked.add(ids)
        recalled = self.end_revoked()
        running = {request.id for request, _ in self.worker_state.active()} - recalled
        if self.app.backend is not None and ids - running:
            if self._marker is None:
                self._marker = ThreadPoolExecutor(1, "celerant-revoker")
            # Each costs two round trips to the store, so this thread does not wait.
            self._marker.submit(self._mark, ids - running)

    def end_revoked(self) -> set[str]:
        """Let revoked tasks end now and not at their eta; others may wait for them.

        Returns:
            Ids of tasks that count as running but have not begun. They are checked
            again before they begin.
        """
        self.source.hasten(lambda held: self.worker_state.revoked.cover(held.request))
        return self.engine.recall()

    def _mark(self, ids: set[str]) -> None:
        for task_id in ids:
            if self._is_closed:
                return
            try:
                record = self.app.backend.decode(self.app.backend.read(task_id))
                if record.get("status") in _UNSTARTED:
                    reason = task_revoked("revoked")
                    self.app.backend.store_result(task_id, reason, REVOKED)
            except Exception as exc:  # noqa: BLE001 - the task does not run in any case
                logger.warning(
                    "task %s is revoked, but that cannot be stored (%s: %s)",
                    task_id,
                    type(exc).__name__,
                    exc,
                )

    def terminate_where(
        self, is_meant: Callable[[Any], bool], signal: str | int | None
    ) -> list[str]:
        """Send a signal to the processes of the meant tasks; return the tasks' ids."""
        number = _signal_number(signal)
        return [
            request.id
            for request, _ in self.worker_state.active()
            if is_meant(request) and self.engine.terminate(request.id, number)
        ]


def _signal_number(signal: str | int | None) -> int:
    """Return the number of ``"KILL"``, ``"SIGKILL"`` or 9; that of SIGTERM for None."""
    if signal is None:
        return signals.SIGTERM
    if isinstance(signal, int):
        return signals.Signals(signal)
    name = signal.upper()
    return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"]
