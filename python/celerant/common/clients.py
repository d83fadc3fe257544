"""The packages that talk to brokers and stores, by their names.

By names, because redis-py and py-amqp may not be installed.
"""

from __future__ import annotations

__all__ = ["is_of_client"]

_CLIENTS = frozenset({"amqp", "kombu", "redis"})


def is_of_client(module: str) -> bool:
    """Whether a module is of a package that talks to servers."""
    return module.partition(".")[0] in _CLIENTS
