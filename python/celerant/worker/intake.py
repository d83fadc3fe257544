"""The protocol of an intake: the way on which messages come to a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kombu.asynchronous import Hub

    from celerant.running.policy import Settlement

__all__ = ["Intake"]


class Intake(Protocol):
    """Messages of some queues, over one connection, for the thread that has it."""

    #: Whether a later connection can settle its messages, too.
    outlives: bool

    def begin(self, hub: Hub | None) -> None:
        """Let messages come; `hub` waits for them, None if there is none."""
        ...

    def turn(self) -> None:
        """Do the work that is due; called at each turn of the loop."""
        ...

    def hold(self, wanted: int) -> None:
        """Allow that many messages here that are not settled; 0 is without limit."""
        ...

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Settle a message, at the next turn at the latest."""
        ...

    def give_back(self, messages: Sequence[Any]) -> None:
        """Give messages back that were not started, the oldest first."""
        ...

    def add(self, queue: Any) -> None:
        """Take from one more queue (kombu's)."""
        ...

    def drop(self, name: str) -> None:
        """Stop taking from a queue."""
        ...

    def cancel(self) -> None:
        """Let no more come."""
        ...

    def has_ended(self) -> bool:
        """Whether no message can come any more after `cancel`."""
        ...

    def close(self) -> None:
        """Give its connections back; raises nothing."""
        ...
