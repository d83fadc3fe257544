"""What members ask of the backend that their results come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members
    from celerant.results.tracking.record import Codec

__all__ = ["Server", "Source", "Trouble"]


class Trouble(NamedTuple):
    """What is wrong with the way to the backend."""

    #: Monotonic.
    since: float
    error: BaseException | None


class Server(Protocol):
    """Takes in the results of members from another thread: the consumer."""

    def watch(self, members: Members, timeout: float | None) -> bool:
        """Serve `members`; return after their first sweep, False if time passed."""

    def begin(self, members: Members) -> None:
        """Serve `members` from now on; return at once."""

    def keep(self, members: Members) -> None:
        """Serve `members` even if nobody else holds them, until they are called."""


class Source(Protocol):
    """A result backend, as far as members know of it."""

    codec: Codec
    #: Whether it keeps records for other processes, and reads many in one round trip.
    supports_handles: bool
    #: Says why no result can come now; None: it can.
    obstacle: Callable[[], str | None]

    @property
    def expires(self) -> int:
        """Seconds that a record is kept; 0 for ever."""

    @property
    def losses(self) -> int:
        """How often results that were on their way may have been lost."""

    @property
    def consumer(self) -> Server:
        """The one consumer of this backend in this process."""

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong with the way to the store, as the consumer knows it."""

    @property
    def is_calling_back(self) -> bool:
        """Whether a `then` callback runs on this thread."""

    def as_uri(self) -> str:
        """Return the URL without its password."""

    def tell_obstacle(self) -> None:
        """Warn, once, why no result can come now."""

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the records of `ids` as stored, None where there is none."""

    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""

    def decode(self, payload: Any) -> dict[str, Any]:
        """Return a record's fields; ``{}`` where there is none."""

    def check(self, members: Members) -> None:
        """Refuse to wait for members whose results come to another process."""

    def listen(self, members: Members, task_id: str, tell: Callable[[], None]) -> bool:
        """Call `tell` for each record of a task; False: only the consumer hears."""

    def unlisten(
        self, members: Members, task_id: str, tell: Callable[[], None]
    ) -> None:
        """Undo one `listen` that returned True."""
