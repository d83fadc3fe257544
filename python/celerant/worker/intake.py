"""What a source of messages needs of the way on which they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kombu.asynchronous import Hub

    from celerant.running.policy import Settlement

__all__ = ["Intake"]


class Intake(Protocol):
    """Messages of some queues, by one connection; for the thread that has it."""

    #: Whether what it brought can be settled by a later connection, too.
    outlives: bool
    #: Whether the broker is told of many messages at a time.
    in_volleys: bool

    def begin(self, hub: Hub | None) -> None:
        """Let messages come; `hub` waits for them, None where there is none."""
        ...

    def turn(self) -> None:
        """Do what is to be done now; called at each turn of the loop."""
        ...

    def hold(self, wanted: int) -> None:
        """Let so many messages be here that are not settled; 0 is without limit."""
        ...

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Tell the broker what became of a message, at the next turn at the latest."""
        ...

    def give_back(self, messages: Sequence[Any]) -> None:
        """Let others have messages that were not started, the oldest first."""
        ...

    def add(self, queue: Any) -> None:
        """Take from one more queue (of kombu)."""
        ...

    def drop(self, name: str) -> None:
        """Take from a queue no more."""
        ...

    def cancel(self) -> None:
        """Let no more come."""
        ...

    def has_ended(self) -> bool:
        """Whether nothing can come any more after `cancel`."""
        ...

    def close(self) -> None:
        """Let its connections go; raises nothing."""
        ...
