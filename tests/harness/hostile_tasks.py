"""The app of hostile tasks, for child processes to import."""

from __future__ import annotations

import os

from celerant import Celerant
from harness import hostile

__all__ = ["app"]

app = Celerant(
    os.environ.get("CELERANT_TEST_NAME", "hostile"),
    broker=os.environ.get("CELERANT_TEST_BROKER", "memory://"),
    backend=os.environ.get("CELERANT_TEST_BACKEND", "memory://"),
    task_default_queue=os.environ.get("CELERANT_TEST_NAME", "hostile"),
    result_expires=600,
)

app.task(name="hostile.act", acks_late=True)(hostile.act)


@app.task(name="hostile.ok")
def ok():
    """Say that the slot lives."""
    return "ok"
