"""The module of an app whose worker runs canvases in child processes."""

from __future__ import annotations

import os

from celerant import Celerant
from harness.canvas_tasks import define_canvas_tasks

__all__ = ["app"]

app = Celerant(
    os.environ["CELERANT_TEST_NAME"],
    broker=os.environ["CELERANT_TEST_BROKER"],
    backend=os.environ["CELERANT_TEST_BACKEND"],
    task_default_queue=os.environ["CELERANT_TEST_NAME"],
    result_expires=600,
    result_extended=True,
)
define_canvas_tasks(app, os.environ["CELERANT_TEST_BACKEND"])
