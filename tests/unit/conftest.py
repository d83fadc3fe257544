from __future__ import annotations

import sys

import pytest

from harness.capture import drain
from harness.tasks import define_tasks


@pytest.fixture
def shop(app):
    """The test tasks on an app on memory://; the rest of its queue is dropped."""
    tasks = define_tasks(app)
    tasks.app = app
    yield tasks
    drain("memory://", app.conf.task_default_queue)


@pytest.fixture
def short_switches():
    """Have threads take turns as often as can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
