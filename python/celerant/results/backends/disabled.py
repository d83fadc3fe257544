"""No results: what an app without a result backend has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from celerant.errors import SettingError
from celerant.results.backends.base import Backend
from celerant.results.consuming.feed import Feed

__all__ = ["DisabledBackend"]


class DisabledBackend(Backend):
    """Stores nothing; asking for a result says which setting is missing."""

    has_results = False

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:  # noqa: ARG002 - the interface's
        """Refuse: there are no results."""
        self._refuse()

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store nothing."""

    def encode_result(self, *_args: object, **_kwargs: object) -> bytes:
        """Return nothing to store."""
        return b""

    def store_encoded(self, *_args: object, **_kwargs: object) -> None:
        """Store nothing."""

    def forget(self, ids: Sequence[str]) -> None:
        """Forget nothing."""

    def open_feed(self) -> Feed:
        """Refuse: there are no results."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        msg = (
            "this app stores no results: set result_backend, "
            'e.g. Celerant(..., backend="redis://localhost")'
        )
        raise SettingError(msg, name="result_backend")
