"""Each member is confirmed, rejected, unknown or unsent: RabbitMQ."""

from __future__ import annotations

import gc
import os
import re
import uuid
from pathlib import Path

import pytest
from amqp.exceptions import MessageNacked, NotFound
from kombu import Connection, Exchange, Queue

from celerant import Celerant, group
from celerant.errors import EncodeError, PublishError
from harness.capture import drain
from harness.services import RABBITMQ_PORT as PORT
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy


@pytest.fixture
def make_shop(rabbitmq_url):
    """Make apps on RabbitMQ, at another port (a proxy's) if given."""
    made = []

    def make(port=PORT):
        url = rabbitmq_url.replace(str(PORT), str(port))
        queue = f"celerant-t1-{uuid.uuid4().hex[:8]}"
        app = Celerant("celerant-t1", broker=url, task_default_queue=queue)
        shop = define_tasks(app)
        shop.app, shop.queue, shop.url = app, queue, rabbitmq_url
        made.append(shop)
        return shop

    yield make
    with Connection(rabbitmq_url) as connection:
        for shop in made:
            shop.app.close()
            connection.default_channel.queue_delete(shop.queue)
            connection.default_channel.exchange_delete(f"{shop.queue}-x")


@pytest.fixture
def shop(make_shop):
    return make_shop()


@pytest.fixture
def channel(rabbitmq_url):
    with Connection(rabbitmq_url) as connection:
        yield connection.default_channel


def _indices(shop):
    return [m.headers["group_index"] for m in drain(shop.url, shop.queue)]


def _interrupted(members, **options):
    with pytest.raises(PublishError) as caught:
        members.apply_async(**options)
    assert caught.value.report is caught.value.result.report
    return caught.value


def test_a_full_queue_rejects_and_takes_the_rest_later(shop):
    arguments = {"x-max-length": 10, "x-overflow": "reject-publish"}
    shop.app.conf.task_queues = [Queue(shop.queue, queue_arguments=arguments)]
    members = group([shop.add.s(i, i) for i in range(15)])

    error = _interrupted(members)

    assert error.recoverable
    assert isinstance(error.__cause__, MessageNacked)
    assert error.report.counts()["confirmed"] == 10
    assert error.report.counts()["rejected"] == 5
    first = _indices(shop)
    result = members.resume(error.result)
    assert result.report.complete
    assert sorted(first + _indices(shop)) == list(range(15))
    members.resume(error.result)
    assert _indices(shop) == []


def test_an_unroutable_member_is_rejected(shop, channel):
    exchange = Exchange(f"{shop.queue}-x", "direct")
    bound = Queue(shop.queue, exchange, routing_key="here")
    bound(channel).declare()
    to = {"exchange": exchange, "declare": []}
    members = group(
        [
            shop.add.s(i, i).set(routing_key="nowhere" if i == 3 else "here")
            for i in range(6)
        ],
        **to,
    )

    error = _interrupted(members)

    assert not error.recoverable
    assert "nowhere" in str(error)
    assert error.__cause__ is not None
    assert error.report.rejected == [(3, 4)]
    assert error.report.counts()["confirmed"] == 5
    assert sorted(_indices(shop)) == [0, 1, 2, 4, 5]
    # Unless the caller says that it need not arrive.
    assert members.apply_async(mandatory=False).report.complete


def test_a_queue_that_is_deleted_while_members_leave(shop, channel):
    def members():
        for i in range(1_500):
            if i == 1_100:
                channel.queue_delete(shop.queue)
            yield shop.add.s(i, i)

    report = _interrupted(group(members())).report
    assert report.counts()["unknown"] == 0
    assert report.rejected
    assert report.confirmed[0][0] == 0


def test_an_unknown_exchange_fails_at_once(shop, caplog):
    members = group([shop.add.s(i, i) for i in range(1_200)])
    error = _interrupted(
        members, exchange=f"{shop.queue}-none", routing_key="x", declare=[]
    )
    assert not error.recoverable
    assert isinstance(error.__cause__, NotFound)
    assert f"{shop.queue}-none" in str(error)
    # No second try.
    assert caplog.records == []
    assert error.path == "group[0]"
    assert error.report.rejected == [(0, 1)]
    assert error.report.unsent == [(1, 1_200)]
    # The app goes on with a channel of its own.
    assert group([shop.add.s(1, 1)]).apply_async().report.complete


def test_a_queue_that_exists_with_other_arguments_is_an_error(shop, channel):
    Queue(shop.queue, durable=False)(channel).declare()
    error = _interrupted(group([shop.add.s(1, 1)]))
    assert not error.recoverable
    assert "PRECONDITION_FAILED" in str(error)
    assert error.report.unsent == [(0, 1)]


def test_a_wrong_password_is_told_masked(rabbitmq_url):
    url = rabbitmq_url.replace("guest:guest", "guest:wrong-secret")
    with Celerant("celerant-t1", broker=url) as app:
        add = define_tasks(app).add
        error = _interrupted(group([add.s(1, 1)]))
    assert not error.recoverable
    assert "ACCESS_REFUSED" in str(error)
    assert "wrong-secret" not in str(error)


def _published(number):
    """Return a predicate: this many messages have been published."""

    def matches(stream):
        return len(re.findall(rb"\x00\x3c\x00\x28", stream)) >= number

    return matches


@pytest.mark.parametrize("lost", ["lose_reply", "lose_request"])
def test_a_connection_lost_in_mid_send(make_shop, lost):
    with TcpProxy(PORT, **{lost: _published(700)}) as proxy:
        shop = make_shop(proxy.port)
        result = group([shop.add.s(i, i) for i in range(1_700)]).apply_async()
        shop.app.close()
        assert proxy.cuts == 1
    arrived = _indices(shop)
    assert set(arrived) == set(range(1_700))
    assert result.report.complete
    double = {
        i for start, stop in result.report.maybe_double for i in range(*(start, stop))
    }
    # All members that are there twice were named.
    twice = {i for i in arrived if arrived.count(i) > 1}
    assert twice <= double
    assert double


def test_a_connection_that_is_always_lost(make_shop):
    # At its first message, so that no try gets anywhere: progress would begin anew.
    with TcpProxy(PORT, lose_request=_published(1), times=99) as proxy:
        shop = make_shop(proxy.port)
        shop.app.conf.task_publish_retry_policy = {"max_retries": 1, "interval_max": 0}
        members = group([shop.add.s(i, i) for i in range(1_700)])
        error = _interrupted(members)
        shop.app.close()
    assert error.recoverable
    counts = error.report.counts()
    assert counts["rejected"] == 0
    assert set(_indices(shop)) <= {
        i
        for name in ("unknown", "confirmed")
        for start, stop in getattr(error.report, name)
        for i in range(start, stop)
    }


@pytest.mark.parametrize("error", [LookupError("dry"), KeyboardInterrupt()])
def test_a_generator_that_raises(shop, error):
    def members():
        for i in range(1_300):
            yield shop.add.s(i, i)
        raise error

    with pytest.raises((PublishError, KeyboardInterrupt)) as caught:
        group(members()).apply_async()
    if isinstance(caught.value, PublishError):
        report = caught.value.report
        assert report.counts()["unknown"] == 0
        assert report.confirmed == [(0, len(_indices(shop)))]
    assert group([shop.add.s(1, 1)]).apply_async().report.complete


def test_a_child_forked_by_a_generator_leaves_the_parents_connection_alone(shop):
    in_child = []

    def members():
        for i in range(1_300):
            if i == 1_100:
                pid = os.fork()
                if pid == 0:
                    in_child.append(True)
                else:
                    assert os.waitpid(pid, 0)[1] == 0
            yield shop.add.s(i, i)

    status = 1
    try:
        result = group(members()).apply_async()
    except PublishError as error:
        status = 0 if type(error.__cause__).__name__ == "ForkError" else 2
    finally:
        if in_child:
            # A second pytest must not go on from here.
            os._exit(status)
    assert result.report.confirmed == [(0, 1_300)]
    assert result.report.maybe_double == []
    assert len(_indices(shop)) == 1_300


def test_a_header_that_no_message_carries(shop):
    with pytest.raises(EncodeError, match="header"):
        group([shop.add.s(1, 2)], headers={"x": object()}).apply_async()
    assert _indices(shop) == []


def test_dispatches_leave_nothing(shop):
    def volleys(count):
        for i in range(count):
            group([shop.add.s(i, i)]).apply_async()
        gc.collect()
        return len(gc.get_objects()), len(list(Path("/dev/fd").iterdir()))

    before = volleys(20)
    after = volleys(200)
    assert after[0] - before[0] < 50
    # Fewer, if leftovers of an earlier test were collected in between.
    assert after[1] <= before[1]


def test_a_channels_cycle_holds_nothing_of_ours(shop):
    shop.add.delay(1, 1)
    gc.collect()
    gc.disable()
    # What an earlier test has left may end in between.
    before = set(map(id, gc.get_objects()))
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        group([shop.add.s(1, 1)]).apply_async()
        gc.collect()
        made = [one for one in gc.garbage if id(one) not in before]
        ours = [o for o in made if type(o).__module__.startswith("celerant")]
        assert ours == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
