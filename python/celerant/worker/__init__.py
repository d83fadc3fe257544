"""The embedded worker: it runs an app's tasks in this process or its children."""

from __future__ import annotations

from celerant.worker.worker import Worker

__all__ = ["Worker"]
