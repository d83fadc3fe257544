"""The queues that a source takes from, and the changes that remote control asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celerant.worker.declaring import declare

if TYPE_CHECKING:
    from celerant.worker.intake import Intake

__all__ = ["ConsumedQueues"]


class ConsumedQueues:
    """Queues of kombu's.

    Any thread asks for changes; the thread that consumes makes them.

    They are not made at once: the asker may be in the middle of reading.
    """

    def __init__(self, queues: Sequence[Any], wake: Callable[[], None]) -> None:
        """Begin with `queues`; `wake` lets the thread that consumes call `change`."""
        self._queues = list(queues)
        self._wake = wake
        self._changes: deque[Callable[[Intake | None], None]] = deque()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._queues))

    def add(self, connection: Any, queue: Any) -> None:
        """Take from one more queue, soon.

        Raises:
            ValueError: The broker refuses it.
        """
        try:
            # It uses a channel of its own: a refusal costs only that.
            declare(connection, queue)
        except connection.channel_errors as exc:
            msg = f"the broker refuses queue {queue.name!r} ({exc})"
            raise ValueError(msg) from exc
        self._ask(lambda intake: self._add(intake, queue))

    def cancel(self, name: str) -> None:
        """Stop taking from a queue, soon."""
        self._ask(lambda intake: self._drop(intake, name))

    def change(self, intake: Intake | None) -> None:
        """Make the changes that were asked for; None: no message is taken any more."""
        while self._changes:
            self._changes.popleft()(intake)

    def _ask(self, change: Callable[[Intake | None], None]) -> None:
        self._changes.append(change)
        self._wake()

    def _add(self, intake: Intake | None, queue: Any) -> None:
        if intake is None or any(known.name == queue.name for known in self._queues):
            return
        intake.add(queue)
        # Only now, so that a queue that may not be read is not asked for again and
        # again.
        self._queues.append(queue)

    def _drop(self, intake: Intake | None, name: str) -> None:
        self._queues = [queue for queue in self._queues if queue.name != name]
        if intake is not None:
            intake.drop(name)
