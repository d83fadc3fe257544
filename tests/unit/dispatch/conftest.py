from __future__ import annotations

import pytest

from harness.fed_queue import Queue


@pytest.fixture
def queue(shop):
    """The queue of `shop`, which has no worker: the test is one."""
    return Queue(shop)
