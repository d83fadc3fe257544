"""Sockets of a parent process, in its forked child."""

from __future__ import annotations

from typing import Any

__all__ = ["abandon"]

#: They are neither used nor collected: py-amqp and redis-py say goodbye on collected
#: sockets, and would so end the parent's connections.
_abandoned: list[Any] = []


def abandon(of_parent: Any) -> None:
    """Keep an object with a parent's sockets, unused, as long as this child lives."""
    _abandoned.append(of_parent)
