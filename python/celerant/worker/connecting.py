"""Connect a worker to its broker."""

from __future__ import annotations

from typing import Any

__all__ = ["reach"]


def reach(connection: Any) -> None:
    """Connect a connection of kombu.

    Raises:
        Exception: The transport's own, if the broker is not reachable.
    """
    if connection.alt:
        # Try each URL of a failover list once; `connect` tries no more than two.
        connection.ensure_connection(max_retries=len(connection.alt) - 1)
    else:
        connection.connect()
