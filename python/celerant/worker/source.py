"""What remote control and the worker need of where messages come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.worker.message import Delivery

__all__ = ["Source"]


class Source(Protocol):
    """The part of a source of messages that remote control reaches."""

    def queues(self) -> list[Any]:
        """Return the queues it takes from."""
        ...

    def add_queue(self, queue: Any) -> None:
        """Take from one more queue (of kombu), soon; raise where it is refused."""
        ...

    def cancel_queue(self, name: str) -> None:
        """Take from a queue no more, soon."""
        ...

    def unstarted(self) -> list[Delivery]:
        """Return what is held and does not run yet."""
        ...

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Give out at once what is held until its eta and meant."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what ``celery inspect stats`` tells of the broker."""
        ...

    def resize(self, slots: int) -> None:
        """Hold messages for this many slots."""
        ...
