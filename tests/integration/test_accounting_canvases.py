"""A member that is several messages has one state for all of them."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from types import SimpleNamespace

import pytest
from kombu import Connection

from celerant import Celerant, chain, chord, group
from celerant.dispatch.wires import amqp
from celerant.errors import NotSent, PublishError
from harness import services
from harness.capture import drain
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

DATABASE = 2
#: More than three chunks of 500.
HEADER = 1_600
NOWHERE = {"exchange": "amq.direct", "routing_key": "celerant-t1-nowhere"}


@pytest.fixture
def make_shop(redis_url, request):
    """Make apps at a broker, at another port (a proxy's) if given."""
    made = []

    def make(broker, port=None):
        if broker == "redis":
            url, usual = services.redis_url(DATABASE), services.REDIS_PORT
        else:
            url = request.getfixturevalue("rabbitmq_url")
            usual = services.RABBITMQ_PORT
        queue = f"celerant-t1-{uuid.uuid4().hex[:8]}"
        app = Celerant(
            "celerant-t1",
            broker=url.replace(str(usual), str(port or usual)),
            backend=services.redis_url(DATABASE),
            task_default_queue=queue,
            result_expires=600,
        )
        shop = SimpleNamespace(app=app, queue=queue, url=url, add=define_tasks(app).add)
        made.append(shop)
        return shop

    yield make
    with services.redis_client(DATABASE) as client:
        for shop in made:
            shop.app.close()
            client.delete(*client.keys(f"*{shop.queue}*") or ["-"])
            if not shop.url.startswith("redis"):
                with Connection(shop.url) as connection:
                    connection.default_channel.queue_delete(shop.queue)


def _members(shop):
    """Return a chord of several chunks between two tasks, and its messages' number."""
    header = [shop.add.s(i, i) for i in range(HEADER)]
    middle = chord(header, shop.add.si(0, 0))
    return group([shop.add.s(1, 1), middle, shop.add.s(2, 2)]), HEADER + 2


def _arrived(shop):
    return Counter(message.headers["id"] for message in drain(shop.url, shop.queue))


def _interrupted(members, **options):
    with pytest.raises(PublishError) as caught:
        members.apply_async(**options)
    assert caught.value.report is caught.value.result.report
    return caught.value


def _published(number):
    """Return a predicate: this many messages have been published to RabbitMQ."""
    return lambda stream: len(re.findall(rb"\x00\x3c\x00\x28", stream)) >= number


def _chunk(number):
    """Return a predicate: this transaction of Redis (from 1) is complete."""
    found = re.compile(rb"LPUSH.*?EXEC\r\n", re.DOTALL)
    return lambda stream: len(found.findall(stream)) >= number


@pytest.fixture
def confirmed_at_once(monkeypatch):
    """Each few messages are confirmed before the next leave, also within a chunk."""

    def poll(wire):
        while wire._window.tags:
            wire._read()

    monkeypatch.setattr(amqp, "_BUFFER", 1 << 16)
    monkeypatch.setattr(amqp.AmqpWire, "_poll", poll)


@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
@pytest.mark.usefixtures("confirmed_at_once")
def test_rabbitmq_lost_when_some_of_a_member_is_confirmed(make_shop, lost):
    with TcpProxy(services.RABBITMQ_PORT, **{lost: _published(700)}) as proxy:
        shop = make_shop("rabbitmq", proxy.port)
        members, messages = _members(shop)
        result = members.apply_async()
        assert proxy.cuts == 1
    arrived = _arrived(shop)
    assert len(arrived) == messages
    assert result.report.complete
    assert result.report.maybe_double == [(1, 2)]
    # Members confirmed by then did not go again.
    assert arrived.total() < messages + 100


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
@pytest.mark.usefixtures("confirmed_at_once")
def test_a_member_of_which_only_some_is_in_is_unknown(make_shop, broker):
    port, cut = {
        "rabbitmq": (services.RABBITMQ_PORT, _published(700)),
        "redis": (services.REDIS_PORT, _chunk(2)),
    }[broker]
    with TcpProxy(port, lose_request=cut) as proxy:
        shop = make_shop(broker, proxy.port)
        members, messages = _members(shop)

        error = _interrupted(members, retry=False)

        assert error.report.confirmed == [(0, 1)]
        assert error.report.unknown == [(1, 2)]
        assert error.report.unsent == [(2, 3)]
        skipped = members.resume(error.result, unknown="skip")
        assert skipped.report.unknown == [(1, 2)]
        assert skipped.report.maybe_double == []
        result = members.resume(error.result)
    arrived = _arrived(shop)
    assert len(arrived) == messages
    assert max(arrived.values()) == 2
    assert result.report.complete
    assert result.report.maybe_double == [(1, 2)]


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_source_that_breaks_within_a_member(make_shop, broker):
    shop = make_shop(broker)

    def members():
        yield shop.add.s(1, 1)
        header = [shop.add.s(i, i) for i in range(700)]
        yield chord([*header, shop.add.s(object(), 0)], shop.add.si(0, 0))

    error = _interrupted(group(members()))
    assert "JSON" in str(error)
    assert error.report.confirmed == [(0, 1)]
    assert error.report.unknown == [(1, 2)]
    assert 1 < _arrived(shop).total() < 702


def test_an_unroutable_first_step_rejects_its_chain(make_shop):
    shop = make_shop("rabbitmq")
    steps = chain(shop.add.s(1, 1).set(**NOWHERE), shop.add.s(2))
    error = _interrupted(group([shop.add.s(1, 1), steps]))
    assert not error.recoverable
    assert NOWHERE["routing_key"] in str(error)
    assert error.report.confirmed == [(0, 1)]
    assert error.report.rejected == [(1, 2)]
    with pytest.raises(NotSent):
        error.result.get(timeout=5)


@pytest.mark.parametrize(
    ("bad", "state"), [({0}, "unknown"), ({2}, "unknown"), ({0, 1, 2}, "rejected")]
)
def test_a_chord_reports_unroutable_messages(make_shop, bad, state):
    shop = make_shop("rabbitmq")
    header = [
        shop.add.s(i, i).set(**NOWHERE if i in bad else {"queue": shop.queue})
        for i in range(3)
    ]
    members = [shop.add.s(1, 1), chord(header, shop.add.si(0, 0)), shop.add.s(2, 2)]
    error = _interrupted(group(members))
    assert not error.recoverable
    assert NOWHERE["routing_key"] in str(error)
    assert getattr(error.report, state) == [(1, 2)]
    assert error.report.confirmed == [(0, 1), (2, 3)]
    assert _arrived(shop).total() == 2 + 3 - len(bad)


def test_an_unroutable_message_with_a_correlation_id_of_its_own_is_rejected(make_shop):
    shop = make_shop("rabbitmq")
    members = group([shop.add.s(1, 1), shop.add.s(2, 2).set(**NOWHERE)])
    error = _interrupted(members, correlation_id="the-callers")
    assert error.report.rejected == [(1, 2)]


@pytest.mark.parametrize(
    ("bad", "state"), [({0}, "unknown"), ({2}, "unknown"), ({0, 1, 2}, "rejected")]
)
def test_a_chord_reports_messages_for_a_redis_queue_of_a_wrong_type(
    make_shop, bad, state
):
    shop = make_shop("redis")
    wrong = f"{shop.queue}-wrong"
    queues = [wrong if i in bad else shop.queue for i in range(3)]
    header = [shop.add.s(i, i).set(queue=queue) for i, queue in enumerate(queues)]
    middle = chord(header, shop.add.si(0, 0))
    members = group([shop.add.s(1, 1), middle, shop.add.s(2, 2)])
    with services.redis_client(DATABASE) as client:
        # Declared while it is none: from then on it is known.
        shop.add.apply_async((0, 0), queue=wrong)
        client.delete(wrong)
        client.set(wrong, "no list")
        error = _interrupted(members)
        assert error.report.confirmed == [(0, 1), (2, 3)]
        assert getattr(error.report, state) == [(1, 2)]
        assert client.llen(shop.queue) == 2 + 3 - len(bad)

        # Refused again, before anything of it leaves: what is in since the first time
        # is not forgotten.
        with pytest.raises(PublishError):
            members.resume(error.result)
        assert client.llen(shop.queue) == 2 + 3 - len(bad)
        assert getattr(error.result.report, state) == [(1, 2)]

        client.delete(wrong)
        result = members.resume(error.result)
        assert result.report.complete
        # If nothing was in, nothing is in twice.
        assert result.report.maybe_double == ([(1, 2)] if state == "unknown" else [])
        assert client.llen(wrong) == len(bad)
        assert client.llen(shop.queue) == 2 + 2 * (3 - len(bad))
