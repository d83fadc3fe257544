"""A broker that answers nothing any more ends a volley."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from celery import Celery, group
from kombu.exceptions import OperationalError

import celerant.celery
from harness.capture import drain
from harness.redis_server import RedisServer
from harness.stalling import ONE_RETRY, STALL
from harness.tasks import define_tasks

SIZE = 1_700


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.mark.timeout(90)
def test_a_stopped_broker_ends_a_group_with_a_report_of_each_member(
    server, volleys, request
):
    app = Celery("swapin-stalled", broker=server.url())
    app.conf.update(
        task_ignore_result=True,
        task_publish_retry_policy=ONE_RETRY,
        celerant_stall_timeout=STALL,
    )
    add = define_tasks(app, shared=False).add
    celerant.celery.install()
    group([add.s(-1, 0), add.s(-1, 0)]).apply_async()
    assert volleys == [2]
    server.freeze()
    began = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        group([add.s(i, 0) for i in range(SIZE)]).apply_async()
    assert time.monotonic() - began < 10 * STALL
    server.thaw()

    report = caught.value.__cause__.report
    counts = report.counts()
    assert counts["confirmed"] == 0
    assert sum(counts.values()) == SIZE
    arrived = Counter(json.loads(m.body)[0][0] for m in drain(server.url(), "celery"))
    del arrived[-1]
    unknown = {i for start, stop in report.unknown for i in range(start, stop)}
    assert set(arrived) <= unknown
    assert set(arrived.values()) <= {1}
