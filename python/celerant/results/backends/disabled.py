"""The backend of an app that stores no results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from celerant.errors import SettingError
from celerant.results.backends.base import Backend
from celerant.results.consuming.feed import Feed

__all__ = ["DisabledBackend"]


class DisabledBackend(Backend):
    """Stores no results; a read raises an error that names the missing setting."""

    has_results = False

    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:  # noqa: ARG002 - the interface's
        """Raise: there are no results."""
        self._refuse()

    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Do nothing."""

    def encode_result(self, *_args: object, **_kwargs: object) -> bytes:
        """Return an empty record."""
        return b""

    def store_encoded(self, *_args: object, **_kwargs: object) -> None:
        """Do nothing."""

    def forget(self, ids: Sequence[str]) -> None:
        """Do nothing."""

    def open_feed(self) -> Feed:
        """Raise: there are no results."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        msg = (
            "this app stores no results: set result_backend, "
            'e.g. Celerant(..., backend="redis://localhost")'
        )
        raise SettingError(msg, name="result_backend")
