"""Handles of groups whose sender waits for longer than results are kept."""

from __future__ import annotations

import threading

import pytest

from celerant import Celerant, group
from celerant.results.handle_format import open_name
from harness import services
from harness.until import until

#: Milliseconds that results are kept, and of those that are left if it was just stored.
KEPT, NEW = 3000, 2700


@pytest.fixture
def app(own_urls, new_queue):
    name = new_queue()
    with Celerant(
        name,
        broker=own_urls["redis"],
        backend=own_urls["results"],
        task_default_queue=name,
        result_expires=KEPT / 1000,
        set_as_current=False,
    ) as made:
        yield made
    with services.redis_client(7) as client:
        client.delete(*client.keys(f"*{name}*") or ["-"])


@pytest.mark.parametrize("waits", ["for room", "in its source"])
def test_a_handle_works_for_as_long_as_its_sender_waits(app, waits):
    gate = threading.Event()

    def source():
        for index in range(10):
            if index == 3 and waits == "in its source":
                gate.wait(60)
            yield app.signature("renewed.note", (index,))

    window = 3 if waits == "for room" else 10
    result = group(source(), app=app).apply_async(window=window)
    handle = result.handle
    with services.redis_client(8) as client:
        (key,) = client.keys(f"*{open_name(result.roster.uuid)}")
        for _ in range(2):
            until(lambda: client.pttl(key) < NEW)
            until(lambda: client.pttl(key) > NEW)
    attached = app.attach(handle)
    assert not attached.sealed
    gate.set()
    result.feeding.stop("close")
