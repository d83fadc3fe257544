"""The protocols of a backend and its feed of new records, as the consumer uses them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from celerant.results.tracking.member_backend import MemberBackend

if TYPE_CHECKING:
    from celerant.errors import CelerantError
    from celerant.results.tracking.members import Members

__all__ = ["CompleteFeed", "ConsumerBackend", "Feed", "FeedLostError"]


class ConsumerBackend(MemberBackend, Protocol):
    """A result backend, as its consumer uses it."""

    @property
    def connection_errors(self) -> tuple[type[Exception], ...]:
        """The errors of a broken connection."""

    @property
    def retry_policy(self) -> Mapping[str, Any]:
        """The retry policy for a store that is not reachable, in kombu's terms."""

    def failure_of(self, exc: BaseException) -> CelerantError:
        """Return the error that tells users of one of the store's."""

    def open_feed(self) -> Feed:
        """Return the feed of new records to this process."""

    def forget_connections(self) -> None:
        """Close the idle connections, because one was lost."""

    def doubt(self, members: Members) -> CelerantError | None:
        """Return, once for each loss, why results of `members` may never come."""


class FeedLostError(Exception):
    """The connection that brings new records is lost; some may have been missed."""


class Feed(ABC):
    """Brings new records as they are stored; one thread uses it, but any may `wake`."""

    #: Whether all records come without subscriptions, and none is ever missed.
    is_complete = False
    #: Whether records that are stored from now on come to `receive`.
    is_open = True

    def open(self) -> None:  # noqa: B027 - most feeds have nothing to do
        """Connect, if records come only while connected.

        The thread that calls `receive` calls this before.
        """

    @abstractmethod
    def subscribe(self, ids: Sequence[str]) -> bool:
        """Subscribe to the records of `ids`.

        Return True once the server has confirmed it, False if the server refuses.
        """

    @abstractmethod
    def subscribe_prefix(self, prefix: str) -> bool:
        """Subscribe to the records of all ids with a prefix, as `subscribe` does."""

    @abstractmethod
    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Undo `subscribe`."""

    @abstractmethod
    def unsubscribe_prefix(self, prefix: str) -> None:
        """Undo `subscribe_prefix`."""

    @abstractmethod
    def receive(self, timeout: float | None) -> list[tuple[str, bytes]]:
        """Wait for new records and return them as (task id, record).

        The list is empty after `timeout` seconds or a `wake`.

        Raises:
            FeedLostError: The connection is lost; the next call makes a new one.
        """

    def keep(self, records: Sequence[tuple[str, bytes]]) -> None:  # noqa: B027 - stores keep them
        """Keep records that no members wait for yet."""

    @abstractmethod
    def wake(self) -> None:
        """Make `receive` return; any thread calls it."""

    @abstractmethod
    def reset(self) -> None:
        """Drop the connection and all subscriptions; the feed stays usable."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources; a second call does nothing."""

    def after_fork(self) -> None:
        """In a forked child, release resources that the parent goes on using."""
        self.close()


class CompleteFeed(Feed):
    """A feed to which all records come without subscriptions."""

    is_complete = True

    def subscribe(self, ids: Sequence[str]) -> bool:  # noqa: ARG002 - all records come
        """Do nothing."""
        return True

    def subscribe_prefix(self, prefix: str) -> bool:  # noqa: ARG002 - all records come
        """Do nothing."""
        return True

    def unsubscribe(self, ids: Sequence[str]) -> None:
        """Do nothing."""

    def unsubscribe_prefix(self, prefix: str) -> None:
        """Do nothing."""
