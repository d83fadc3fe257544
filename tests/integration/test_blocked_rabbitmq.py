"""A RabbitMQ that takes no messages, as it is low on memory."""

from __future__ import annotations

import threading

import pytest
from kombu.exceptions import OperationalError

from celerant import Celerant, group
from celerant.dispatch.wires.amqp import AmqpWire
from celerant.errors import PublishError
from harness.capture import drain
from harness.stalling import ONE_RETRY
from harness.tasks import define_tasks

pytestmark = pytest.mark.timeout(90)  # RabbitMQ takes its time to start

QUEUE = "celerant-test-blocked"
SIZE = 1_200
IMPATIENT = {**ONE_RETRY, "max_retries": 2}


@pytest.fixture
def shop(own_node):
    with Celerant("celerant-test-blocked", broker=own_node.url()) as app:
        app.conf.update(task_default_queue=QUEUE, task_ignore_result=True)
        app.conf.task_publish_retry_policy = IMPATIENT
        tasks = define_tasks(app)
        tasks.app = app
        # The link is kept: the next dispatch begins on a connection that is known.
        tasks.add.delay(0, 0)
        own_node.control("set_vm_memory_high_watermark", "absolute", "1")
        yield tasks
        own_node.control("set_vm_memory_high_watermark", "0.9")
        app.close()
        drain(own_node.url(), QUEUE)


def test_a_dispatch_ends_within_the_retry_policy_and_can_be_resumed(
    shop, own_node, caplog
):
    members = group([shop.add.s(i, i) for i in range(SIZE)])

    with pytest.raises(PublishError, match="takes no messages") as caught:
        members.apply_async()

    error = caught.value
    assert error.recoverable
    assert isinstance(error.__cause__, OperationalError)
    assert "blocks publishing" in caplog.text
    counts = error.report.counts()
    assert counts["rejected"] == 0
    assert counts["unknown"] > 0
    assert sum(counts.values()) == SIZE

    own_node.control("set_vm_memory_high_watermark", "0.9")
    assert members.resume(error.result).report.complete
    arrived = {m.headers["group_index"] for m in drain(own_node.url(), QUEUE)}
    assert arrived >= set(range(SIZE))


def test_a_dispatch_that_may_wait_goes_on_once_the_block_is_lifted(
    shop, own_node, monkeypatch
):
    shop.app.conf.task_publish_retry_policy = {**IMPATIENT, "max_retries": None}
    is_blocked = threading.Event()
    wait = AmqpWire._wait_while_blocked

    def tell_and_wait(wire):
        is_blocked.set()
        wait(wire)

    monkeypatch.setattr(AmqpWire, "_wait_while_blocked", tell_and_wait)
    sent = []
    members = group([shop.add.s(i, i) for i in range(SIZE)])
    sending = threading.Thread(target=lambda: sent.append(members.apply_async()))
    sending.start()
    assert is_blocked.wait(20)
    assert sent == []

    own_node.control("set_vm_memory_high_watermark", "0.9")
    sending.join(20)

    assert sent[0].report.confirmed == [(0, SIZE)]
    # RabbitMQ may close a connection that wrote into the block: then some go again.
    assert sent[0].report.complete
