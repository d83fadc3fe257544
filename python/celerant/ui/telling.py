"""What bars, streams and pages tell of a group's progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Counted", "Progressing", "done_and_failed", "told"]

_FAILED = ("FAILURE", "REVOKED", "NOT_SENT", "EXPIRED")


class Progressing(Protocol):
    """How far a group has come; see `celerant.results.progress.Progress`."""

    @property
    def total(self) -> int | None:
        """Members; None while more may come."""

    @property
    def done(self) -> int:
        """Those that are done."""

    @property
    def failed(self) -> int:
        """Those of them that failed."""

    @property
    def revoked(self) -> int:
        """Those of them that were revoked."""

    @property
    def rate(self) -> float | None:
        """Members done in a second."""

    @property
    def eta(self) -> float | None:
        """Seconds until all are done."""

    @property
    def margin(self) -> int:
        """How far off `done` may be."""


class Counted(Protocol):
    """A group's result, as those see it who tell of it."""

    id: str

    def counts(self) -> dict[str, int]:
        """Return how many members are in each state."""
        ...

    def progress(self) -> Progressing:
        """Return how far the group has come."""
        ...

    def then(self, callback: Callable[[Any], Any]) -> None:
        """Call `callback` once all members are done."""
        ...

    def ready(self) -> bool:
        """Whether all members are done."""
        ...

    def get(self, timeout: float | None = None) -> list[Any]:
        """Wait for all values."""
        ...


def done_and_failed(counts: dict[str, int]) -> tuple[int, int, int]:
    """Return how many members there are so far, are done, and failed."""
    total = sum(counts.values())
    return total, total - counts["PENDING"], sum(counts[name] for name in _FAILED)


def told(result: Counted) -> dict[str, Any]:
    """Return what is told of a group that is watched from now on.

    Shape: ``id``; ``total``, None while more members may come; ``done`` and, of those,
    ``failed`` (revoked ones too); ``rate`` (members per second) and ``eta`` (seconds),
    None if they are not known; ``counts`` by state.
    """
    # The first look has the members watched, so that `progress` asks nobody.
    counts = result.counts()
    progress = result.progress()
    return {
        "id": result.id,
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed + progress.revoked,
        "rate": progress.rate,
        "eta": progress.eta,
        "counts": counts,
    }
