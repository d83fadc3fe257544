"""The protocol of an intake, which brings a source its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kombu.asynchronous import Hub

    from celerant.running.policy import Settlement

__all__ = ["Intake"]


class Intake(Protocol):
    """Messages of some queues; only the thread that consumes uses it."""

    #: Whether a later connection can settle its messages too.
    outlives: bool
    #: Whether it settles many messages at a time.
    in_volleys: bool

    def begin(self, hub: Hub | None) -> None:
        """Let messages come; `hub` waits for them, if there is one."""

    def turn(self) -> None:
        """Do the work that is due; called at each turn of the loop."""

    def hold(self, wanted: int) -> None:
        """Take at most `wanted` messages that are not settled; 0 is without limit."""

    def settle(self, message: Any, settlement: Settlement) -> None:
        """Settle a message, at the next turn at the latest."""

    def give_back(self, messages: Sequence[Any]) -> None:
        """Give messages that have not begun back to the broker, the oldest first."""

    def add(self, queue: Any) -> None:
        """Take from one more queue (kombu's)."""

    def drop(self, name: str) -> None:
        """Stop taking from a queue."""

    def cancel(self) -> None:
        """Take no more messages."""

    def has_ended(self) -> bool:
        """Whether no more messages can come after `cancel`."""

    def close(self) -> None:
        """Close its connections; raises nothing."""
