"""What the consumer asks of a backend: records, and what brings new ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from celerant.results.tracking.source import Source

if TYPE_CHECKING:
    from celerant.errors import CelerantError
    from celerant.results.tracking.members import Members

__all__ = ["Feed", "FeedLostError", "Store"]


class Store(Source, Protocol):
    """A result backend, as far as its consumer knows of it."""

    @property
    def connection_errors(self) -> tuple[type[Exception], ...]:
        """What a broken connection raises."""

    @property
    def retry_policy(self) -> Mapping[str, Any]:
        """How long to go on asking a store that is away, as kombu takes it."""

    def open_feed(self) -> Feed:
        """Return what brings new records to this process."""

    def forget_connections(self) -> None:
        """Close the connections that nobody uses, because one was lost."""

    def doubt(self, members: Members) -> CelerantError | None:
        """Return, once for each loss, why results of `members` may never come."""


class FeedLostError(Exception):
    """The connection that brings new records is gone; results may have been missed."""


class Feed(ABC):
    """Brings new records as they are stored. Used by one thread, but for `wake`."""

    #: Whether every record arrives without a subscription, and none is ever missed.
    is_complete = False
    #: Whether what is stored from now on reaches `receive`.
    is_open = True

    def open(self) -> None:  # noqa: B027 - most have nothing to do
        """Connect where records arrive only while connected; else do nothing.

        Called before every `receive`, by the same thread.
        """

    @abstractmethod
    def subscribe(self, ids: Sequence[str]) -> bool:
        """Ask for the records of `ids`; True once in force, False where refused."""

    @abstractmethod
    def subscribe_prefix(self, prefix: str) -> bool:
        """Ask for the records of all ids that start with `prefix`; as `subscribe`."""

    @abstractmethod
    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Ask for the records of `ids` no more."""

    @abstractmethod
    def unsubscribe_prefix(self, prefix: str) -> None:
        """Undo `subscribe_prefix`."""

    @abstractmethod
    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return (task id, record) of what came; empty after `timeout` or `wake`.

        Raises:
            FeedLostError: The connection broke; the next call makes a new one.
        """

    def keep(self, records: Sequence[tuple[str, bytes]]) -> None:  # noqa: B027 - stores keep them
        """Take back records that nobody here waits for yet."""

    @abstractmethod
    def wake(self) -> None:
        """Make `receive` return, from any thread."""

    @abstractmethod
    def reset(self) -> None:
        """Drop the connection and all subscriptions; usable again."""

    @abstractmethod
    def close(self) -> None:
        """Let everything go; again does nothing."""

    def after_fork(self) -> None:
        """Let go in a forked child what the parent goes on using."""
        self.close()
