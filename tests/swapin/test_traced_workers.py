"""A stock worker continues the trace of the sender of its tasks."""

from __future__ import annotations

import json

import pytest
import sentry_sdk
from celery import group

import celerant.celery
from harness import services
from harness.tracing import opentelemetry, sentry

MARK = "TRACED "
N = 20

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]


@pytest.fixture
def work(make_app, celery_worker):
    """Run a group on a traced worker; return a tool's data there."""
    backend = services.redis_url(6)
    side = make_app("redis", backend=backend)
    worker = celery_worker(
        broker=side.url,
        backend=backend,
        queue=side.queue,
        module="harness.traced_worker:app",
    )

    def work(tool):
        with celerant.celery.install():
            result = group([side.add.s(i, i) for i in range(N)]).apply_async()
            assert result.get(timeout=60) == [2 * i for i in range(N)]
        # It says the last of it before it ends.
        worker.stop()
        lines = [line.partition(MARK)[2] for line in worker.log if MARK in line]
        return [seen for seen in map(json.loads, lines) if seen["tool"] == tool]

    return work


def test_opentelemetrys_consumers_follow_the_producer(work, volleys):
    with opentelemetry() as kept:
        seen = work("opentelemetry")
    [sent] = kept.get_finished_spans()
    assert volleys == [N]
    assert [one["name"] for one in seen] == ["run/celerant_test.add"] * N
    assert {one["trace"] for one in seen} == {f"{sent.context.trace_id:032x}"}
    assert {one["parent"] for one in seen} == {f"{sent.context.span_id:016x}"}


def test_sentrys_transactions_follow_the_sender(work, volleys):
    with sentry() as kept, sentry_sdk.start_transaction(name="sender"):
        seen = work("sentry")
    [transaction] = kept.transactions
    assert volleys == [N]
    assert [one["name"] for one in seen] == ["celerant_test.add"] * N
    trace = transaction["contexts"]["trace"]["trace_id"]
    assert {one["trace"] for one in seen} == {trace}
    spans = {span["span_id"]: span["op"] for span in kept.spans}
    [parent] = {one["parent"] for one in seen}
    assert spans[parent] == "queue.submit.celery"
