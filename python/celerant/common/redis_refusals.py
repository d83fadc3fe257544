"""Refusals of Redis that pass by: the same command may succeed later, unchanged."""

from __future__ import annotations

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

__all__ = ["is_passing"]

#: redis-py takes their codes out of the text.
_CLASSES = (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
#: Codes for which it has no class, or had none in earlier versions.
_CODES = frozenset(
    {
        *("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS"),
        *("OOM", "READONLY", "TRYAGAIN"),
    }
)


def is_passing(exc: BaseException | None) -> bool:
    """Whether Redis, or its operator, can end the reason for this error."""
    if isinstance(exc, _CLASSES):
        return True
    # A pipeline puts the whole command before it, and that may hold any word.
    told = str(exc).rpartition("caused error: ")[2]
    return isinstance(exc, ResponseError) and told.partition(" ")[0] in _CODES
