"""The arguments and options of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Call"]


class Call(NamedTuple):
    """The arguments and options of one call of `apply_async` or `apply`."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    #: The call's own dict: the sender takes out options that are no part of a message.
    options: dict[str, Any]
