"""The queues that a source takes from; remote control may change them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celerant.worker.declaring import declare

if TYPE_CHECKING:
    from celerant.worker.intake import Intake

__all__ = ["ConsumedQueues"]


class ConsumedQueues:
    """Queues (kombu's) that a source takes from.

    Any thread may ask for a change. The thread that consumes makes it at its next turn,
    because a command may come while that thread reads messages.
    """

    def __init__(self, queues: Sequence[Any], wake: Callable[[], None]) -> None:
        """Begin with `queues`; `wake` makes the thread that consumes call `change`."""
        self._queues = list(queues)
        self._wake = wake
        self._changes: deque[Callable[[Intake | None], None]] = deque()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._queues))

    def add(self, connection: Any, queue: Any) -> None:
        """Soon take from one more queue.

        Raises:
            ValueError: The broker refuses the queue.
        """
        try:
            declare(connection, queue)
        except connection.channel_errors as exc:
            msg = f"the broker refuses queue {queue.name!r} ({exc})"
            raise ValueError(msg) from exc
        self._ask(lambda intake: self._add(intake, queue))

    def cancel(self, name: str) -> None:
        """Soon stop taking from a queue."""
        self._ask(lambda intake: self._drop(intake, name))

    def change(self, intake: Intake | None) -> None:
        """Make the requested changes; `intake` is None once no messages are taken."""
        while self._changes:
            self._changes.popleft()(intake)

    def _ask(self, change: Callable[[Intake | None], None]) -> None:
        self._changes.append(change)
        self._wake()

    def _add(self, intake: Intake | None, queue: Any) -> None:
        if intake is None or any(known.name == queue.name for known in self._queues):
            return
        intake.add(queue)
        # Added last: a queue that the broker does not let us read must not be asked for
        # with each new connection.
        self._queues.append(queue)

    def _drop(self, intake: Intake | None, name: str) -> None:
        self._queues = [queue for queue in self._queues if queue.name != name]
        if intake is not None:
            intake.drop(name)
