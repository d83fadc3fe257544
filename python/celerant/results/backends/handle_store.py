"""What handles of results need of a store."""

from __future__ import annotations

from typing import Protocol

__all__ = ["HandleStore"]


class HandleStore(Protocol):
    """Keeps the key that proves handles, and what they have no room for."""

    def handle_key(self) -> bytes:
        """Return the key, made if there is none."""

    def put_aside(self, name: str, payload: bytes) -> None:
        """Keep `payload` for as long as results live."""

    def take_aside(self, name: str) -> bytes | None:
        """Return what was put aside, None where it is gone."""
