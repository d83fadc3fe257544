"""The Celerant app: ``celerant worker -A imagesite.celerant`` runs its tasks."""

from __future__ import annotations

import os
import threading

from celerant import Celerant
from celerant.worker import Worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imagesite.settings")

app = Celerant("imagesite")
app.config_from_object("django.conf:settings", namespace="CELERANT")
app.autodiscover_tasks()

_lock = threading.Lock()
_workers: list[Worker] = []


def is_alone() -> bool:
    """Whether messages and results stay in this process."""
    return str(app.conf.broker_url).startswith("memory:")


def ensure_worker() -> None:
    """Without a broker, run the tasks in this process from now on."""
    with _lock:
        if is_alone() and not _workers:
            _workers.append(app.worker())
            _workers[0].start()
