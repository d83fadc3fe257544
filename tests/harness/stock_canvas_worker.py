"""The module that a stock `celery worker` of any version runs for canvases."""

from __future__ import annotations

import os

from harness.canvas_tasks import define_canvas_tasks
from harness.stock_worker import app

__all__ = ["app"]

define_canvas_tasks(app, os.environ["CELERANT_TEST_BACKEND"])
