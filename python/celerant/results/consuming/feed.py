"""The part of a backend that the consumer needs: records, and a feed of new ones."""

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
    """The part of a result backend that its consumer knows."""

    @property
    def connection_errors(self) -> tuple[type[Exception], ...]:
        """The errors of a broken connection."""

    @property
    def retry_policy(self) -> Mapping[str, Any]:
        """The retry policy for a store that is away, in kombu's terms."""

    def open_feed(self) -> Feed:
        """Return the feed of new records to this process."""

    def forget_connections(self) -> None:
        """Close the idle connections, because one was lost."""

    def doubt(self, members: Members) -> CelerantError | None:
        """Return, once for each loss, why results of `members` may never come."""


class FeedLostError(Exception):
    """The connection that brings new records is gone; results may have been missed."""


class Feed(ABC):
    """Brings new records as they are stored. One thread uses it, except for `wake`."""

    #: Whether every record arrives without a subscription, and none is ever missed.
    is_complete = False
    #: Whether records that are stored from now on reach `receive`.
    is_open = True

    def open(self) -> None:  # noqa: B027 - most have nothing to do
        """Connect, if records arrive only while connected.

        Called before every `receive`, by the same thread.
        """

    @abstractmethod
    def subscribe(self, ids: Sequence[str]) -> bool:
        """Ask for the records of `ids`.

        True once it is in force, False if it is refused.
        """

    @abstractmethod
    def subscribe_prefix(self, prefix: str) -> bool:
        """Ask for the records of all ids that start with `prefix`; as `subscribe`."""

    @abstractmethod
    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Stop asking for the records of `ids`."""

    @abstractmethod
    def unsubscribe_prefix(self, prefix: str) -> None:
        """Undo `subscribe_prefix`."""

    @abstractmethod
    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Return (task id, record) of new records; empty after `timeout` or `wake`.

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
        """Release everything; a second call does nothing."""

    def after_fork(self) -> None:
        """Release in a forked child what its parent goes on using."""
        self.close()
