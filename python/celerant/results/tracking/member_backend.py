"""The protocol of a result backend and its consumer, as members use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members
    from celerant.results.tracking.record import Codec

__all__ = ["MemberBackend", "MemberConsumer", "Trouble"]


class Trouble(NamedTuple):
    """Why the consumer cannot reach the backend, and since when."""

    #: A `monotonic` time.
    since: float
    error: BaseException | None


class MemberConsumer(Protocol):
    """The consumer: it takes in the results of members in a thread of its own."""

    def watch(self, members: Members, timeout: float | None) -> bool:
        """Serve `members` and wait for their first sweep; False if the time passed."""

    def begin(self, members: Members) -> None:
        """Serve `members` from now on, without waiting."""

    def keep(self, members: Members) -> None:
        """Serve `members` until all callbacks were called, and hold them until then."""


class MemberBackend(Protocol):
    """A result backend, as members use it."""

    codec: Codec
    #: Whether it keeps records for other processes and reads many in one round trip.
    supports_handles: bool
    #: Returns why no result can come now; None if it can.
    obstacle: Callable[[], str | None]

    @property
    def expires(self) -> int:
        """For how many seconds a record is kept; 0 is for ever."""

    @property
    def losses(self) -> int:
        """How often results on their way may have been lost."""

    @property
    def consumer(self) -> MemberConsumer:
        """The one consumer of this backend in this process."""

    @property
    def trouble(self) -> Trouble | None:
        """Why the consumer cannot reach the store; None if it can."""

    @property
    def is_calling_back(self) -> bool:
        """Whether a `then` callback runs in this thread."""

    def as_uri(self) -> str:
        """Return the URL without its password."""

    def tell_obstacle(self) -> None:
        """Warn, once, why no result can come now."""

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the stored records of `ids`; None for each that has none."""

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""

    def decode(self, payload: Any) -> dict[str, Any]:
        """Return a record's fields; ``{}`` if there is no record."""

    def check(self, members: Members) -> None:
        """Raise ForkError if the members' results come to another process."""

    def listen(self, members: Members, task_id: str, tell: Callable[[], None]) -> bool:
        """Call `tell` for each record of a task; False if only the consumer can."""

    def unlisten(
        self, members: Members, task_id: str, tell: Callable[[], None]
    ) -> None:
        """Undo one `listen` that returned True."""
