"""What remote control reaches of a worker."""

from __future__ import annotations

import logging
import signal as signals
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
    from celerant.worker.roll import Roll
    from celerant.worker.source import Source

__all__ = ["Panel"]

logger = logging.getLogger("celerant.worker")

#: States of a task that no worker runs yet, so that its end can be stored here.
_UNSTARTED = frozenset({None, "PENDING", "RECEIVED", "RETRY", "REJECTED"})


class Panel:
    """Answers commands with the parts of a worker."""

    def __init__(  # noqa: PLR0913 - what the worker joins here
        self,
        *,
        app: App,
        hostname: str,
        roll: Roll,
        events: Events,
        engine: Engine,
        shutdown: Callable[[], Any],
    ) -> None:
        """Answer for the parts of a worker; `join` brings the rest of them."""
        self.app = app
        self.hostname = hostname
        self.roll = roll
        self.events = events
        self.engine = engine
        self.shutdown = shutdown
        self.since = monotonic()
        self.source: Source
        self._slots: Pool
        self._marker: ThreadPoolExecutor | None = None
        self._is_closed = False

    def join(self, source: Source, slots: Pool) -> None:
        """Answer for these too; before the first command."""
        self.source, self._slots = source, slots

    def unstarted(self) -> list[Delivery]:
        """Return what the worker holds and does not run yet."""
        return self.source.unstarted()

    def pool(self) -> dict[str, Any]:
        """Return what ``celery inspect stats`` tells of the pool."""
        return {
            "implementation": self.engine.name,
            "max-concurrency": self._slots.size,
            "processes": self.engine.pids(),
        }

    def resize(self, more: int) -> None:
        """Run so many more tasks side by side, or fewer.

        Raises:
            ValueError: None would be left.
        """
        size = self._slots.size + more
        if size < 1:
            msg = f"the pool has {self._slots.size} slots and must keep one"
            raise ValueError(msg)
        # New slots find their children, and old ones keep theirs until they end.
        if more > 0:
            self.engine.resize(more)
        self._slots.resize(size)
        if more < 0:
            self.engine.resize(more)
        self.source.resize(size)
        logger.info("the pool has %d slots now", size)

    def handle(self, command: str, arguments: dict[str, Any]) -> Any:
        """Carry out a command and return its reply, JSON's types only."""
        found = COMMANDS.get(command)
        if found is None:
            return {"error": f"this worker knows no command {command!r}"}
        try:
            return found(self, **arguments)
        except Exception as exc:
            logger.exception("remote control command %s failed", command)
            return {"error": repr(exc)}

    def close(self) -> None:
        """Let go of what marking takes, when no command comes any more."""
        self._is_closed = True
        if self._marker is not None:
            self._marker.shutdown(wait=False, cancel_futures=True)

    # -- what the commands do ----------------------------------------------------------

    def revoke_ids(self, ids: set[str]) -> None:
        """Remember ids, and store the end of those that nobody runs."""
        self.roll.revoked.add(ids)
        recalled = self.end_revoked()
        running = {request.id for request, _ in self.roll.active()} - recalled
        if self.app.backend is not None and ids - running:
            if self._marker is None:
                self._marker = ThreadPoolExecutor(1, "celerant-revoker")
            # Two trips to the store for each: not in the thread that consumes.
            self._marker.submit(self._mark, ids - running)

    def end_revoked(self) -> set[str]:
        """Let what is revoked end now, and not at its eta: others may wait for it.

        Returns:
            Tasks that seem to run and will not begin before they are looked at again.
        """
        self.source.hasten(lambda held: self.roll.revoked.cover(held.request))
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
            except Exception as exc:  # noqa: BLE001 - it will not run, stored or not
                logger.warning(
                    "task %s is revoked, but that cannot be stored (%s: %s)",
                    task_id,
                    type(exc).__name__,
                    exc,
                )

    def terminate_where(
        self, is_meant: Callable[[Any], bool], signal: str | int | None
    ) -> list[str]:
        """Send the processes of some running tasks a signal; return the tasks' ids."""
        number = _signal_number(signal)
        return [
            request.id
            for request, _ in self.roll.active()
            if is_meant(request) and self.engine.terminate(request.id, number)
        ]


def _signal_number(signal: str | int | None) -> int:
    """Return the number of ``"KILL"``, ``"SIGKILL"`` or 9; None is SIGTERM."""
    if signal is None:
        return signals.SIGTERM
    if isinstance(signal, int):
        return signals.Signals(signal)
    name = signal.upper()
    return signals.Signals[name if name.startswith("SIG") else f"SIG{name}"]
