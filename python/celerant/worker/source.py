"""The part of a source of messages that remote control uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.message import Delivery

__all__ = ["Source"]


class Source(Protocol):
    """A source of messages; remote control calls it in the thread that consumes."""

    def queues(self) -> list[Any]:
        """Return the queues (kombu's) that it takes from."""

    def add_queue(self, queue: Any) -> None:
        """Soon take from one more queue (kombu's); raise if the broker refuses it."""

    def cancel_queue(self, name: str) -> None:
        """Soon stop taking from a queue."""

    def unstarted(self) -> list[Delivery]:
        """Return the deliveries that have not begun."""

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Make the meant deliveries due now instead of at their eta."""

    def about(self) -> dict[str, Any]:
        """Return the broker's part of ``celery inspect stats``."""

    def resize(self, slots: int) -> None:
        """Hold messages for this many slots."""
