"""The part of a source of messages that remote control and the worker need."""

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
        """Take from one more queue (kombu's), soon; raise if it is refused."""
        ...

    def cancel_queue(self, name: str) -> None:
        """Stop taking from a queue, soon."""
        ...

    def unstarted(self) -> list[Delivery]:
        """Return the messages that are held and do not run yet."""
        ...

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Give out at once what is held until its eta and meant."""
        ...

    def about(self) -> dict[str, Any]:
        """Return the broker's part of ``celery inspect stats``."""
        ...

    def resize(self, slots: int) -> None:
        """Hold messages for this many slots."""
        ...
