"""Results on their way to RabbitMQ: none is called stored before the broker has it."""

from __future__ import annotations

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from celerant.results.backends.rpc_frames import Reply
from celerant.results.backends.rpc_replies import Replies
from harness import services
from harness.tcp_proxy import TcpProxy
from harness.until import until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.usefixtures("rabbitmq_url")]

CONTENT = ("application/json", "utf-8")


@pytest.fixture
def queue(new_queue):
    """A queue of RabbitMQ, and how to take one of its messages."""
    name = new_queue()
    with Connection(services.RABBITMQ) as connection:
        connection.default_channel.queue_declare(name, durable=False)
        yield name, lambda: connection.default_channel.basic_get(name, no_ack=True)


def _replies(port):
    url = services.RABBITMQ.replace(f":{services.RABBITMQ_PORT}", f":{port}")
    return Replies(lambda: Connection(url), is_persistent=False)


def _taken(take, count):
    bodies = []

    def is_there():
        message = take()
        if message is not None:
            bodies.append(message.body.encode())
        return len(set(bodies)) == count

    until(is_there)
    return bodies


@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
@pytest.mark.parametrize("count", [1, 50])
def test_records_that_a_lost_connection_took_are_published_again(queue, lost, count):
    name, take = queue
    records = [b"record-%d." % index for index in range(count)]
    how = {lost: lambda stream: records[-1] in stream}
    with TcpProxy(services.RABBITMQ_PORT, **how) as proxy:
        replies = _replies(proxy.port)
        replies.publish_many([Reply(one, name, "id") for one in records], CONTENT)
        assert proxy.cuts == 1
        replies.close()
    bodies = _taken(take, count)
    assert set(bodies) == set(records)
    assert len(bodies) <= 2 * count


def test_single_records_and_many_share_a_channel(queue):
    name, take = queue
    replies = _replies(services.RABBITMQ_PORT)
    for index in range(3):
        one, *two = [b"%d-%d" % (index, at) for at in range(3)]
        replies.publish(one, reply_to=name, correlation_id="id", content=CONTENT)
        replies.publish_many([Reply(record, name, "id") for record in two], CONTENT)
    replies.close()
    assert sorted(_taken(take, 9)) == sorted(
        b"%d-%d" % (index, at) for index in range(3) for at in range(3)
    )


def test_a_queue_that_is_gone_silently_takes_none():
    replies = _replies(services.RABBITMQ_PORT)
    replies.publish_many([Reply(b"x", "celerant-no-such-queue", "id")] * 3, CONTENT)
    replies.close()


def test_records_that_the_broker_refuses_raise(new_queue):
    name = new_queue()
    with Connection(services.RABBITMQ) as connection:
        connection.default_channel.queue_declare(
            name,
            durable=False,
            arguments={"x-max-length": 1, "x-overflow": "reject-publish"},
        )
        replies = _replies(services.RABBITMQ_PORT)
        with pytest.raises(OperationalError, match="refused results"):
            replies.publish_many([Reply(b"x", name, "id")] * 3, CONTENT)
        replies.close()
