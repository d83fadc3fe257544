"""Ten workers on one queue: each has its share, and none holds more than it may."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter

import pytest

from celerant import group
from harness.until import until

pytestmark = pytest.mark.timeout(90)

WORKERS, TASKS = 10, 400
#: Messages that a worker with one slot holds: Celery's own default.
HELD = 4


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_ten_workers_share_a_queue_fairly(make_app, broker):
    app = make_app(broker)

    @app.task(name="work", bind=True)
    def work(self):
        # As long as a task of an everyday kind.
        threading.Event().wait(0.01)
        return self.request.hostname

    names = [f"worker-{number}@here" for number in range(WORKERS)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(app.worker(concurrency=1, hostname=name))
        ran = Counter(group(work.s() for _ in range(TASKS))().get(timeout=60))
    assert set(ran) == set(names)
    share = TASKS / WORKERS
    # What one holds when the queue is empty, no other can run.
    assert min(ran.values()) >= share / 2
    assert max(ran.values()) <= share * 2


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_busy_worker_keeps_no_more_from_others_than_it_may_hold(make_app, broker):
    app = make_app(broker)
    entered, gate = threading.Event(), threading.Event()

    @app.task(name="work", bind=True)
    def work(self, *, stays=False):
        if stays:
            entered.set()
            assert gate.wait(60)
        return self.request.hostname

    with app.worker(concurrency=1, hostname="busy@here"):
        stays = work.delay(stays=True)
        assert entered.wait(20)
        result = group(work.s() for _ in range(100))()
        with app.worker(concurrency=1, hostname="free@here"):
            # All but what the other holds behind its task, which is acknowledged.
            until(lambda: result.completed_count() == 100 - HELD, 30)
            gate.set()
            assert stays.get(timeout=20) == "busy@here"
            ran = Counter(result.get(timeout=20))
    assert ran["free@here"] >= 100 - HELD
