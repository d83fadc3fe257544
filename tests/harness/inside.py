"""State that no public name shows: each look has one place, here.

A test that needs one more adds a function; it does not walk private attributes itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "connections_made",
    "hears",
    "kept_carriers",
    "kept_replies",
    "locks",
    "memory_bytes",
    "memory_changes",
    "memory_records",
    "memory_waiters",
    "redis_socket",
    "unsent_events",
    "worker_socket",
]


def connections_made(worker: Any) -> int:
    """Return how often a worker has connected to its broker."""
    return int(worker._source._generation)


def hears(worker: Any) -> bool:
    """Return whether a worker consumes on its present connection."""
    return bool(worker._source._hears)


def kept_carriers(app: Any) -> Any:
    """Return the connections that an app keeps for sending, in this process."""
    return app.sender.outgoing.open()._own.get()


def kept_replies(backend: Any) -> Mapping[str, Any]:
    """Return the replies over ``rpc://`` that nobody has asked for yet."""
    return dict(backend._inbox._kept)


def locks(app: Any) -> list[Any]:
    """Return the locks of an app that another thread may hold at a fork."""
    return [
        app._lock.get(),
        app.sender.outgoing._lock.get(),
        app._discovery._lock.get(),
        kept_carriers(app).lock,
        app.backend._own.get().lock,
        app.loop_door._own.get().lock,
    ]


def memory_bytes(backend: Any) -> int:
    """Return how many bytes of records a store in memory keeps."""
    return int(backend._shared._bytes)


def memory_changes(worker: Any) -> Any:
    """Return the event on which a worker of ``memory://`` sleeps."""
    return worker._source._changed


def memory_records(backend: Any) -> Mapping[str, Any]:
    """Return the records of a store in memory, by their ids."""
    return dict(backend._shared._records)


def memory_waiters(backend: Any) -> Mapping[str, Any]:
    """Return those that wait for single results of a store in memory, by id."""
    return dict(backend._shared._listeners)


def redis_socket(source: Any) -> Any:
    """Return the socket of a worker's source that takes volleys from Redis."""
    return source._volleys._notes._redis._sock


def unsent_events(events: Any) -> int:
    """Return how many task events wait for the broker."""
    return len(events._outbox._waiting)


def worker_socket(worker: Any) -> Any:
    """Return the socket on which a worker consumes from RabbitMQ."""
    return worker._source._connection.connection.sock
