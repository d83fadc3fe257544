"""Quorum queues: RabbitMQ itself holds later messages back."""

from __future__ import annotations

import time
import uuid
from types import SimpleNamespace

import celery
import pytest
from celery import chord, group

import celerant.celery
from harness import services
from harness.celery_worker import CeleryWorker
from harness.rabbitmq_server import own_rabbitmq
from swapin.conftest import RESULTS

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node of its own: delayed delivery declares exchanges for all of a broker."""
    services.require_redis()
    with own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as running:
        yield running


@pytest.fixture
def side(node):
    queue = f"celerant-quorum-{uuid.uuid4().hex[:8]}"
    settings = {
        "task_default_queue": queue,
        "task_default_queue_type": "quorum",
        "task_default_exchange": queue,
        "task_default_exchange_type": "topic",
        "task_default_routing_key": queue,
        "broker_transport_options": {"confirm_publish": True},
        "worker_detect_quorum_queues": True,
    }
    app = celery.Celery("quorum", broker=node.url(), backend=RESULTS)
    app.conf.update(settings, result_expires=600)
    worker = CeleryWorker(
        broker=node.url(),
        backend=RESULTS,
        queue=queue,
        module="harness.swapin_worker:app",
        pool="prefork",
        settings=settings,
    )
    with worker:
        yield SimpleNamespace(app=app, queue=queue, sign=app.signature)
    app.backend.result_consumer.stop()
    app.backend.result_consumer._pubsub = None
    app.backend.client.connection_pool.disconnect()
    app.close()


def test_volleys_go_to_quorum_queues_and_wait_in_rabbitmq(side, volleys):
    where = side.sign("celerant_test.where")
    add = [side.sign("celerant_test.add", (i, i)) for i in range(30)]
    told = {}
    for way in ("stock", "ours"):
        if way == "ours":
            celerant.celery.install()
        assert group(add, app=side.app)().get(timeout=30) == [i + i for i in range(30)]
        body = chord(add, side.sign("celerant_test.echo"), app=side.app)()
        assert body.get(timeout=30) == [[[i + i for i in range(30)]], {}]
        started = time.monotonic()
        later = group([where] * 5, app=side.app).apply_async(countdown=2)
        keys = later.get(timeout=30)
        assert time.monotonic() - started > 1
        told[way] = sorted(set(keys)), set(group([where] * 5, app=side.app)().get())
    assert told["ours"] == told["stock"]
    # Twenty-eight bits of seconds, and then the key it would have had.
    assert told["ours"][0][0].endswith(f"1.0.{side.queue}")
    assert told["ours"][1] == {side.queue}
    assert volleys == [30, 30, 5, 5]
