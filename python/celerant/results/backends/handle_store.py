"""The protocol of a store, as handles of results use it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["HandleStore"]


class HandleStore(Protocol):
    """Keeps the key for proofs of handles, and data that handles have no room for."""

    def handle_key(self) -> bytes:
        """Return the key; one is made if there is none."""

    def put_aside(self, name: str, payload: bytes) -> None:
        """Store `payload`, for as long as results are kept."""

    def take_aside(self, name: str) -> bytes | None:
        """Return a payload that was put aside; None if it is gone."""
