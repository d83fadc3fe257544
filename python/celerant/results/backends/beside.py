"""What a store keeps beside results: of groups, so that other processes know them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from celerant.errors import CelerantError

__all__ = ["INDEX_MOST", "Beside"]

#: Entries of an index of groups.
INDEX_MOST = 1000


class Beside:
    """The part of a backend that is about groups and not about results."""

    #: Whether another process can attach to a result by its handle.
    supports_handles = False
    #: Whether it keeps an index of groups.
    keeps_index = False

    @abstractmethod
    def as_uri(self) -> str:
        """Return the URL without its password."""

    def handle_key(self) -> bytes:
        """Return the key that proves handles, made where the store has none."""
        raise CelerantError(self._no_handles())

    def put_aside(self, name: str, payload: bytes) -> None:  # noqa: ARG002 - for those that can
        """Keep `payload` beside the results for as long as they live."""
        raise CelerantError(self._no_handles())

    def put_asides(self, payloads: Mapping[str, bytes]) -> None:
        """Keep many beside the results, by their names, as `put_aside` does one."""
        for name, payload in payloads.items():
            self.put_aside(name, payload)

    def take_aside(self, name: str) -> bytes | None:  # noqa: ARG002 - for those that can
        """Return what was put aside, None where it is gone."""
        raise CelerantError(self._no_handles())

    def add_to_index(self, payload: bytes, kept: object) -> None:  # noqa: ARG002 - for those that can
        """Add an entry to the app's index of groups; above `INDEX_MOST` the oldest go.

        Args:
            payload: The entry.
            kept: What a store that lives in this process alone keeps with it.

        Raises:
            CelerantError: The store keeps no index, or is not reached.
        """
        raise CelerantError(self._no_index())

    def index(self) -> list[tuple[bytes, object]]:
        """Return the entries of the index, none older than results can be.

        Raises:
            CelerantError: As `add_to_index`.
        """
        raise CelerantError(self._no_index())

    def refuse_handles(self) -> None:
        """Raise why no other process can attach to a result, if so.

        Raises:
            CelerantError: The results live in this process alone.
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
