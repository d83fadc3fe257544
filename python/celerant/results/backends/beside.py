"""Data about groups that a store keeps beside results, for other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from celerant.errors import CelerantError

__all__ = ["INDEX_MOST", "Beside"]

#: The most entries of an index of groups.
INDEX_MOST = 1000


class Beside(ABC):
    """The part of a backend that keeps data about groups."""

    #: Whether another process can attach to a result by a handle.
    supports_handles = False
    #: Whether it keeps an index of groups.
    keeps_index = False

    @abstractmethod
    def as_uri(self) -> str:
        """Return the URL without its password."""

    def handle_key(self) -> bytes:
        """Return the store's key for proofs of handles; one is made if it has none."""
        raise CelerantError(self._no_handles())

    def put_aside(self, name: str, payload: bytes) -> None:  # noqa: ARG002 - subclasses use it
        """Store `payload` beside the results, for as long as they are kept."""
        raise CelerantError(self._no_handles())

    def put_asides(self, payloads: Mapping[str, bytes]) -> None:
        """Store many payloads by their names, as `put_aside` does one."""
        for name, payload in payloads.items():
            self.put_aside(name, payload)

    def take_aside(self, name: str) -> bytes | None:  # noqa: ARG002 - subclasses use it
        """Return a payload that was put aside; None if it is gone."""
        raise CelerantError(self._no_handles())

    def add_to_index(self, payload: bytes, kept: object) -> None:  # noqa: ARG002 - subclasses use it
        """Add an entry to the app's index of groups; above `INDEX_MOST` the oldest go.

        Args:
            payload: The entry.
            kept: An object that a store in this process keeps with the entry.

        Raises:
            CelerantError: The store keeps no index, or is not reachable.
        """
        raise CelerantError(self._no_index())

    def index(self) -> list[tuple[bytes, object]]:
        """Return the entries of the index, without those whose results have expired.

        Raises:
            CelerantError: As for `add_to_index`.
        """
        raise CelerantError(self._no_index())

    def refuse_handles(self) -> None:
        """Check that other processes can attach to results.

        Raises:
            CelerantError: They cannot; the results are in this process only.
        """
        if not self.supports_handles:
            raise CelerantError(self._no_handles())

    def _no_handles(self) -> str:
        return (
            f"results on {self.as_uri()} live in this process alone, so a handle "
            "means nothing elsewhere; use a shared store such as redis://"
        )

    def _no_index(self) -> str:
        return (
            f"{self.as_uri()} keeps no index of groups; use redis://, or memory:// "
            "within one process"
        )
