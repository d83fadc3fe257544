"""Options that are one value or several: callbacks, errbacks, values of stamps."""

from __future__ import annotations

from typing import Any

__all__ = ["listed", "listed_if_given"]


def listed(value: Any) -> list[Any]:
    """Return a new list of an option's values; an empty one for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set)) else [value]


def listed_if_given(value: Any) -> list[Any] | None:
    """Return the same, but None for None."""
    return None if value is None else listed(value)
