from __future__ import annotations

import pytest

from harness.desk import Desk
from harness.fed_queue import Queue


@pytest.fixture
def queue(shop):
    """The queue of `shop`, which has no worker: the test is one."""
    return Queue(shop)


@pytest.fixture
def desk(shop):
    """The queue of `shop` whose messages are looked at."""
    return Desk(shop)
