"""The embedded workers of this process."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

__all__ = ["EmbeddedWorker", "add_worker", "workers_of"]


class EmbeddedWorker(Protocol):
    """The part of a worker that code in its process uses."""

    hostname: str

    @property
    def app_name(self) -> str:
        """The name of its app."""

    @property
    def is_running(self) -> bool:
        """Whether it takes messages."""

    @property
    def panel(self) -> Any:
        """The part that answers remote control; None if that is switched off."""


_workers: weakref.WeakSet[EmbeddedWorker] = weakref.WeakSet()


def add_worker(worker: EmbeddedWorker) -> None:
    """Keep a worker findable while it is held."""
    _workers.add(worker)


def workers_of(app_name: str) -> list[EmbeddedWorker]:
    """Return the running workers of an app of this name in this process."""
    return [
        worker
        for worker in list(_workers)
        if worker.app_name == app_name and worker.is_running
    ]
