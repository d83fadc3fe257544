"""Results on their way to RabbitMQ: none is called stored before the broker has it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from celerant import Celerant
from celerant.results.backends import rpc_replies
from celerant.results.backends.rpc_bundles import bundled
from celerant.results.backends.rpc_frames import Reply, published
from celerant.results.backends.rpc_replies import Replies
from celerant.results.tracking.record import Codec
from celerant.states import FAILURE, SUCCESS
from harness import services
from harness.inside import kept_replies
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


@pytest.fixture
def written(monkeypatch):
    """Return how many messages were written, each time."""
    counts = []

    def counted(replies, **options):
        counts.append(len(replies))
        return published(replies, **options)

    monkeypatch.setattr(rpc_replies, "published", counted)
    return counts


@pytest.fixture
def asking(rabbitmq_url):
    """Return the backend of an app with these settings, whose queue is consumed."""
    with ExitStack() as apps:

        def asking(**settings):
            app = Celerant("asking", broker=rabbitmq_url, backend="rpc://", **settings)
            apps.enter_context(app).backend.consumer.open()
            return app.backend

        yield asking


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_many_records_to_a_sender_of_celerant_are_few_messages(
    asking, written, serializer
):
    backend = asking(result_accept_content=["json", "pickle"])
    codec = Codec(serializer)
    ids = [f"id-{index}" for index in range(300)]
    sent = [
        Reply(codec.encode(task_id, at, SUCCESS, None, None), backend.queue, task_id)
        for at, task_id in enumerate(ids)
    ]
    replies = _replies(services.RABBITMQ_PORT)
    replies.publish_many(sent, codec.content)
    until(lambda: len(kept_replies(backend)) == len(sent))
    assert sum(written) <= 2
    found = [backend.decode(record)["result"] for record in backend.fetch(ids)]
    assert found == list(range(300))
    replies.close()


def test_a_record_that_is_too_large_fails_alone_in_its_bundle(asking):
    backend = asking(celerant_message_size_limit=1_000)
    ids = ["small", "large", "small-too"]
    sent = [
        Reply(
            backend.encode_result(task_id, "x" * size, SUCCESS), backend.queue, task_id
        )
        for task_id, size in zip(ids, [10, 2_000, 700], strict=True)
    ]
    replies = _replies(services.RABBITMQ_PORT)
    replies.publish_many(sent, CONTENT)
    until(lambda: len(kept_replies(backend)) == len(sent))
    found = [backend.decode(record) for record in backend.fetch(ids)]
    assert [meta["status"] for meta in found] == [SUCCESS, FAILURE, SUCCESS]
    assert "celerant_message_size_limit" in str(found[1]["result"])
    replies.close()


def test_a_broken_bundle_is_told_and_ends_nothing(asking, caplog):
    backend = asking()
    whole = backend.encode_result("whole", 1, SUCCESS)
    (bundle,) = bundled(Reply(whole, backend.queue, name) for name in ("whole", "lost"))
    broken = bundle._replace(record=bundle.record[:-3])
    replies = _replies(services.RABBITMQ_PORT)
    replies.publish_many([broken], CONTENT)
    replies.publish_many([Reply(whole, backend.queue, "next")], CONTENT)
    until(lambda: kept_replies(backend).keys() == {"whole", "next"})
    assert "a bundle of results ends within a record" in caplog.text
    replies.close()
