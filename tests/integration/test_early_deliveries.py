"""Deliveries of RabbitMQ that come before its answer to ``basic.consume``."""

from __future__ import annotations

import pytest
from amqp import spec
from kombu.transport import pyamqp

from celerant import Celerant, group
from harness import services


@pytest.fixture
def unready(monkeypatch):
    """Return the tags of consumers that were announced without a callback."""
    tags = []
    send = pyamqp.Channel.send_method

    def send_method(self, sig, *args, **options):
        if sig == spec.Basic.Consume:
            tag = args[1][2]
            if tag not in self.callbacks:
                tags.append(tag)
        return send(self, sig, *args, **options)

    monkeypatch.setattr(pyamqp.Channel, "send_method", send_method)
    return tags


@pytest.mark.usefixtures("rabbitmq_url")
def test_consumers_expect_deliveries_before_they_are_announced(unready, new_queue):
    queue = new_queue()
    app = Celerant("early", broker=services.RABBITMQ, backend="rpc://")
    app.conf.update(task_default_queue=queue, worker_enable_remote_control=False)
    double = app.task(name="double")(lambda x: 2 * x)
    with app, app.worker(concurrency=1):
        assert group(double.s(i) for i in range(3)).delay().get(timeout=20) == [0, 2, 4]
    assert unready == []
