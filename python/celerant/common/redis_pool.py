"""Connections of redis-py's pools, whichever version of it is installed."""

from __future__ import annotations

from typing import Any

import redis

__all__ = ["connection_of"]

#: Before redis-py 5.3 `get_connection` wants the first command; afterwards it warns
#: about one.
_WANTS_COMMAND = redis.VERSION < (5, 3)


def connection_of(pool: Any, command: str) -> Any:
    """Return a connection of a pool on which `command` comes first."""
    return pool.get_connection(*((command,) if _WANTS_COMMAND else ()))
