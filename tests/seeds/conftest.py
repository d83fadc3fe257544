from __future__ import annotations

import pytest

from celerant import Celerant


@pytest.fixture
def myapp():
    """The app of the seeds' examples, with a worker in the process."""
    with Celerant("myapp") as app, app.worker(concurrency=6):
        yield app
