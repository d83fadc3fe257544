"""With what a canvas was sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

__all__ = ["SentCall", "new_seed"]


class SentCall:
    """With what a group was sent."""

    __slots__ = ("args", "kwargs", "losses", "options", "source")

    def __init__(
        self,
        source: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        losses: int,
    ) -> None:
        #: The members as they were given: a list is the caller's.
        self.source = source
        self.args = args
        self.kwargs = kwargs
        self.options = options
        #: The backend's, before the first message left.
        self.losses = losses


def new_seed() -> bytes:
    """Return what the ids of one dispatch derive from: 128 random bits."""
    return uuid.uuid4().bytes
