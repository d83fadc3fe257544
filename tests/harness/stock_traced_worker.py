"""The module that a stock `celery worker` runs for tasks that tell of every call."""

from __future__ import annotations

import os

import celery

from harness.stock_worker import app
from harness.traced_tasks import define_traced_tasks

__all__ = ["app"]

define_traced_tasks(app, os.environ["CELERANT_TEST_BACKEND"], celery)
