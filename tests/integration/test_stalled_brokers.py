"""Brokers that answer nothing any more, the connection open."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter

import pytest
from kombu import Exchange, Queue

from celerant import group
from celerant.errors import PublishError
from harness.capture import drain
from harness.stalling import NAME, ONE_RETRY, STALL, stalling_app
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

pytestmark = pytest.mark.timeout(120)  # RabbitMQ takes its time to start

QUEUE = NAME
SIZE = 3_000
#: Seconds: the connection that is kept, two tries, and the goodbyes.
ENDS_WITHIN = 10 * STALL


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request):
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")()
    else:
        server = request.getfixturevalue("own_node")
    yield server
    server.thaw()
    drain(server.url(), QUEUE)


@pytest.fixture
def make_shop():
    """Return tasks that have been sent already: `make_shop(url)`."""
    made = []

    def make(url, **settings):
        app = stalling_app(
            url,
            backend="disabled://",
            task_default_queue=QUEUE,
            task_publish_retry_policy=ONE_RETRY,
            **settings,
        )
        made.append(app)
        tasks = define_tasks(app)
        tasks.app = app
        # The link is kept: the next dispatch begins on a connection that is known.
        tasks.add.delay(-1, 0)
        return tasks

    yield make
    for app in made:
        app.close()


@pytest.fixture
def shop(broker, make_shop):
    return make_shop(broker.url())


def _members(shop, size=SIZE):
    return group([shop.add.s(i, 0) for i in range(size)])


def _arrived(url, queue=QUEUE):
    """Return how often each number is in the queue."""
    counted = Counter(json.loads(m.body)[0][0] for m in drain(url, queue))
    del counted[-1]
    return counted


def _in(intervals):
    return {index for start, stop in intervals for index in range(start, stop)}


def _check(report, arrived, *, is_exact):
    """See that each member arrived as often as its report says."""
    assert set(arrived) <= _in(report.confirmed) | _in(report.unknown)
    assert _in(report.confirmed) <= set(arrived)
    double = {index for index, times in arrived.items() if times > 1}
    assert double <= (set() if is_exact else _in(report.maybe_double))


@pytest.mark.parametrize("at", [0, 1_700])
def test_a_broker_that_stops_for_good_ends_a_dispatch_with_an_exact_report(
    broker, shop, at
):
    def members():
        for index in range(2 * SIZE):
            if index == at:
                broker.freeze()
            yield shop.add.s(index, 0)

    began = time.monotonic()
    with pytest.raises(PublishError) as caught:
        group(members()).apply_async()

    assert time.monotonic() - began < ENDS_WITHIN
    assert caught.value.recoverable
    report = caught.value.report
    assert not report.complete
    broker.thaw()
    is_redis = broker.url().startswith("redis")
    _check(report, _arrived(broker.url()), is_exact=is_redis)
    # The kept connection does not stand in the way of the next dispatch.
    assert _members(shop).apply_async().report.complete
    assert set(_arrived(broker.url())) >= set(range(SIZE))


def test_a_single_task_ends_too(broker, shop):
    broker.freeze()
    began = time.monotonic()
    with pytest.raises(PublishError) as caught:
        shop.add.delay(1, 0)
    assert time.monotonic() - began < ENDS_WITHIN
    report = caught.value.report
    assert _in(report.unknown) | _in(report.unsent) == {0}
    broker.thaw()
    shop.add.delay(2, 0)
    assert _arrived(broker.url())[2] == 1


def test_a_broker_that_stops_for_a_moment_gets_each_message_once(
    broker, make_shop, caplog
):
    shop = make_shop(broker.url())
    broker.freeze()
    threading.Timer(STALL / 4, broker.thaw).start()

    report = _members(shop).apply_async().report

    assert report.confirmed == [(0, SIZE)]
    assert "broker lost" not in caplog.text
    assert _arrived(broker.url()) == Counter(range(SIZE))


class _Thawing(logging.Handler):
    """Thaws a broker once it is said to be lost."""

    def __init__(self, broker):
        super().__init__(logging.WARNING)
        self._broker = broker

    def emit(self, record):
        if "broker lost" in record.getMessage():
            self._broker.thaw()


def test_a_broker_that_comes_back_within_the_policy_has_all_messages(broker, shop):
    shop.app.conf.task_publish_retry_policy = {**ONE_RETRY, "max_retries": 5}
    thawing = _Thawing(broker)
    logging.getLogger("celerant").addHandler(thawing)
    broker.freeze()
    try:
        report = _members(shop).apply_async().report
    finally:
        logging.getLogger("celerant").removeHandler(thawing)

    assert report.confirmed == [(0, SIZE)]
    arrived = _arrived(broker.url())
    assert set(arrived) == set(range(SIZE))
    _check(report, arrived, is_exact=broker.url().startswith("redis"))


def _url(broker, proxy):
    return broker.url().replace(str(broker.port), str(proxy.port))


def test_a_connection_whose_replies_are_swallowed_is_given_up_for_another(
    broker, make_shop
):
    with TcpProxy(broker.port) as proxy:
        shop = make_shop(_url(broker, proxy))
        proxy.mute(new=False)
        report = _members(shop).apply_async().report
        shop.app.close()

    assert report.confirmed == [(0, SIZE)]
    _check(
        report,
        _arrived(broker.url()),
        is_exact=broker.url().startswith("redis"),
    )


def test_a_proxy_that_swallows_all_replies_ends_a_dispatch(broker, make_shop):
    with TcpProxy(broker.port) as proxy:
        shop = make_shop(_url(broker, proxy))
        proxy.mute(new=True)
        with pytest.raises(PublishError) as caught:
            _members(shop).apply_async()
        shop.app.close()

    report = caught.value.report
    assert sum(report.counts().values()) == SIZE
    _check(report, _arrived(broker.url()), is_exact=True)


@pytest.mark.parametrize("retry", [True, False])
def test_publishing_by_kombu_ends_too_and_goes_on_by_another_connection(
    redis_server, make_shop, retry
):
    server = redis_server()
    # No queue's own exchange: kombu must route its messages.
    topic = Exchange("celerant-test-topic", type="topic")
    queue = Queue(QUEUE, topic, routing_key="to.here")
    with TcpProxy(server.port) as proxy:
        shop = make_shop(server.url(port=proxy.port), task_queues=[queue])
        proxy.mute(new=True)
        began = time.monotonic()
        with pytest.raises(PublishError) as caught:
            _members(shop, 20).apply_async(retry=retry)
        assert time.monotonic() - began < ENDS_WITHIN
        report = caught.value.report
        _check(report, _arrived(server.url()), is_exact=False)
        assert _in(report.unknown) | _in(report.unsent) == set(range(20))

        proxy.mute(new=False)
        assert _members(shop, 20).apply_async(retry=retry).report.complete
        shop.app.close()
    assert _arrived(server.url()) == Counter(range(20))


def test_a_message_of_many_writes_arrives_whole(broker, shop):
    text = "".join(map(str, range(500_000)))
    report = group([shop.add.s(i, text) for i in range(3)]).apply_async().report
    assert report.confirmed == [(0, 3)]
    bodies = [json.loads(message.body)[0] for message in drain(broker.url(), QUEUE)]
    assert bodies[1:] == [[i, text] for i in range(3)]
