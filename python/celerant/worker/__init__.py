"""The embedded worker: it runs an app's tasks in this process or its children."""

from __future__ import annotations

from celerant.worker.trace import Outcome, run_task
from celerant.worker.worker import Worker, workers_of

__all__ = ["Outcome", "Worker", "run_task", "workers_of"]
