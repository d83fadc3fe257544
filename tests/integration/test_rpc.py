"""Results over RabbitMQ alone: the sender's reply queue."""

from __future__ import annotations

import socket
import threading

import pytest
from celery import Celery
from kombu import Connection, pools

from celerant import Celerant, group
from celerant.dispatch.wires.amqp import AmqpWire
from celerant.errors import CelerantError, ForkError, PublishError, ResultTimeout
from celerant.results.backends.rpc import RpcBackend
from celerant.results.backends.rpc_feed import RpcFeed
from harness.forking import FORKS, in_child
from harness.inside import kept_replies
from harness.redis_server import free_port
from harness.tasks import define_tasks
from harness.until import until

SIZE = 10_000

pytestmark = pytest.mark.rabbitmq


@pytest.fixture(scope="module")
def broker(rabbitmq_url):
    return rabbitmq_url


@pytest.fixture(scope="module")
def stock_queue(broker, new_queue, celery_worker):
    """A queue that a stock worker serves, which answers over rpc."""
    queue = new_queue()
    celery_worker(
        broker=broker,
        backend="rpc://",
        queue=queue,
        settings={"worker_prefetch_multiplier": 64, "task_track_started": True},
    )
    return queue


@pytest.fixture
def app(broker):
    with Celerant("celerant-test", broker=broker) as app:
        yield app


@pytest.fixture
def served(app, stock_queue):
    """Tasks that a stock worker runs."""
    app.conf.task_default_queue = stock_queue
    return define_tasks(app)


@pytest.fixture
def unserved(app, queue):
    """Tasks without a worker: the test answers itself."""
    app.conf.task_default_queue = queue
    return define_tasks(app)


@pytest.fixture
def channel(broker):
    with Connection(broker) as connection:
        yield connection.default_channel


@pytest.fixture
def answer(broker):
    """Publish a result as a stock worker does."""
    stock = Celery("stock", broker=broker, backend="rpc://", set_as_current=False)

    def answer(app, task_id, value, state="SUCCESS"):
        from celery.app.task import Context

        request = Context(
            {
                "id": task_id,
                "reply_to": app.backend.queue,
                "correlation_id": task_id,
                "children": [],
            }
        )
        stock.backend.store_result(task_id, value, state, request=request)

    yield answer
    stock.close()
    pools.reset()


def is_there(broker, name):
    with Connection(broker) as connection:
        try:
            connection.default_channel.queue_declare(name, passive=True)
        except connection.channel_errors:
            return False
        return True


def cut(app):
    """Cut the connection of the reply queue, as a network would."""
    feed = app.backend.consumer.service.feed
    feed._connection.connection.sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.timeout(180)
def test_ten_thousand_come_back_complete_and_in_order(served):
    result = group([served.add.s(i, i) for i in range(SIZE)]).apply_async()
    # Plain looking, with nothing that waits, ends.
    looks = 0
    while not result.ready():
        looks += 1

    assert looks
    assert result.successful()
    assert result.completed_count() == SIZE
    assert result.get(timeout=0) == [2 * i for i in range(SIZE)]
    assert result.report.complete


@pytest.mark.timeout(60)
def test_values_and_failures_of_a_stock_worker_come_over_rpc(served):
    result = group([served.add.s(1, 2), served.fail.s("no"), served.ignored.s()])
    values = result.apply_async().get(timeout=30, propagate=False)

    assert values[0] == 3
    assert (type(values[1]), values[1].args) == (ValueError, ("no",))
    assert values[2] is None
    assert served.add.delay(20, 22).get(timeout=30) == 42


@pytest.mark.timeout(60)
def test_results_that_came_before_the_first_look_are_there(app, served):
    results = [served.add.delay(i, i) for i in range(20)]
    until(lambda: len(kept_replies(app.backend)) == 20, 30)
    again = app.AsyncResult(results[0].id)

    assert [result.get(timeout=5) for result in results] == [2 * i for i in range(20)]
    assert again.get(timeout=5) == 0
    assert results[0].date_done is not None
    assert not kept_replies(app.backend)


def test_the_queue_is_consumed_before_the_first_message_leaves(
    app, unserved, channel, monkeypatch
):
    seen = []
    send = AmqpWire.send

    def look_and_send(wire, chunk):
        seen.append(channel.queue_declare(app.backend.queue, passive=True))
        send(wire, chunk)

    monkeypatch.setattr(AmqpWire, "send", look_and_send)
    unserved.add.delay(1, 1)

    assert [found.consumer_count for found in seen] == [1]


def test_one_queue_is_declared_once(app, unserved, monkeypatch):
    declared = []
    declare = RpcFeed._declare

    def count_and_declare(feed):
        declared.append(feed._queue)
        declare(feed)

    monkeypatch.setattr(RpcFeed, "_declare", count_and_declare)
    senders = [
        threading.Thread(
            target=lambda: [unserved.add.delay(i, i) for i in range(5)], daemon=True
        )
        for _ in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(20)
    group([unserved.add.s(i, i) for i in range(100)]).apply_async()

    assert declared == [app.backend.queue]


def test_ignored_results_declare_no_reply_queue(app, unserved):
    unserved.ignored.delay()

    assert app.backend._own.get().consumer is None


def test_the_queue_goes_with_the_app(app, broker, unserved):
    unserved.add.delay(1, 1)
    queue = app.backend.queue
    assert is_there(broker, queue)
    app.close()

    until(lambda: not is_there(broker, queue))


@pytest.mark.timeout(60)
def test_a_broken_connection_is_told_and_waiting_goes_on(app, unserved, answer):
    result = group([unserved.add.s(i, i) for i in range(3)]).apply_async()
    later = unserved.add.delay(1, 1)
    answer(app, result[0].id, 0)
    until(lambda: result.completed_count() == 1)
    told = []

    def wait():
        try:
            result.get(timeout=20)
        except CelerantError as exc:
            told.append(str(exc))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: len(result.members.waiters))
    cut(app)
    waiting.join(20)

    assert told
    assert told[0].startswith(
        "2 results may be lost: the connection to amqp://guest:**"
    )
    # Results that were not awaited tell it at the first look.
    with pytest.raises(CelerantError, match="1 results may be lost"):
        later.get(timeout=20)
    for index in (1, 2):
        answer(app, result[index].id, 2 * index)
    answer(app, later.id, 2)
    assert result.get(timeout=20) == [0, 2, 4]
    assert later.get(timeout=20) == 2
    # Later tasks are not in doubt.
    new = unserved.add.delay(2, 2)
    answer(app, new.id, 4)
    assert new.get(timeout=20) == 4


@pytest.mark.timeout(60)
def test_a_queue_that_outlives_the_connection_loses_nothing(
    app, unserved, answer, channel
):
    result = unserved.add.delay(1, 1)
    # Another consumer keeps the queue; the one message it takes is not ours.
    channel.basic_qos(0, 1, a_global=False)
    channel.basic_consume(app.backend.queue, callback=lambda _: None)
    with Connection(channel.connection.client.as_uri(include_password=True)) as other:
        for _ in range(2):
            other.Producer().publish("x", routing_key=app.backend.queue)
    feed = app.backend.consumer.service.feed
    is_cut = threading.Event()
    is_answered = threading.Event()
    open_feed = feed.open

    def open_later():
        if not feed.is_open:
            is_cut.set()
            is_answered.wait(20)
        open_feed()

    feed.open = open_later
    cut(app)
    assert is_cut.wait(20)
    answer(app, result.id, 2)
    is_answered.set()

    assert result.get(timeout=20) == 2
    assert app.backend.losses == 0


@pytest.mark.timeout(60)
def test_a_deleted_queue_is_told_and_declared_again(app, unserved, answer, channel):
    result = unserved.add.delay(1, 1)
    assert not result.ready()
    channel.queue_delete(app.backend.queue)

    with pytest.raises(CelerantError, match="may be lost"):
        result.get(timeout=20)
    answer(app, result.id, 2)
    assert result.get(timeout=20) == 2


@pytest.mark.timeout(60)
def test_callbacks_outlast_a_broken_connection(app, unserved, answer):
    result = unserved.add.delay(1, 1)
    done = threading.Event()
    result.then(lambda _: done.set())
    until(lambda: result.members.is_watched)
    cut(app)
    until(lambda: app.backend.losses == 1)
    answer(app, result.id, 2)

    assert done.wait(20)


@pytest.mark.timeout(60)
def test_states_on_the_way_are_seen_and_end_nothing(app, unserved, answer):
    result = unserved.add.delay(1, 1)
    answer(app, result.id, {"pid": 1}, "STARTED")
    until(lambda: result.state == "STARTED")
    assert not result.ready()
    with pytest.raises(ResultTimeout):
        result.get(timeout=0)
    answer(app, result.id, 2)
    assert result.get(timeout=20) == 2


def test_handles_are_refused(app, unserved):
    result = group([unserved.add.s(1, 1)]).apply_async()

    with pytest.raises(CelerantError, match=r"rpc:// live in this process alone"):
        _ = result.handle


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pool", ["threads"])
def test_the_embedded_worker_answers_us_and_a_stock_client(app, broker, unserved, pool):
    stock = Celery("stock", broker=broker, backend="rpc://", set_as_current=False)
    stock.conf.task_default_queue = app.conf.task_default_queue
    theirs = define_tasks(stock, shared=False)
    with app.worker(pool=pool):
        ours = group([unserved.add.s(1, 1), unserved.fail.s("no")]).apply_async()
        values = ours.get(timeout=20, propagate=False)
        asked = theirs.add.delay(2, 2)
        value = asked.get(timeout=20)
        failed = theirs.fail.delay("no")
        with pytest.raises(ValueError, match="no"):
            failed.get(timeout=20)
    stock.backend.result_consumer.stop()
    stock.close()
    pools.reset()

    assert values[0] == 2
    assert isinstance(values[1], ValueError)
    assert value == 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_forked_child_has_a_queue_of_its_own(app, unserved, answer, fork):
    result = unserved.add.delay(1, 1)
    queue = app.backend.queue
    said = in_child(lambda: _in_child(app, unserved, result, queue), fork)
    assert said == "all as it should be"
    answer(app, result.id, 2)
    assert result.get(timeout=20) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_child_forked_before_the_first_send_shares_no_queue(app, fork):
    queue = app.backend.queue
    assert in_child(lambda: app.backend.queue != queue, fork) is True
    assert app.backend.queue == queue


def _in_child(app, tasks, result, queue):
    with pytest.raises(ForkError):
        result.get(timeout=5)
    with app.worker():
        assert tasks.add.delay(2, 2).get(timeout=20) == 4
    assert app.backend.queue != queue
    return "all as it should be"


def test_a_broker_that_is_down_fails_within_the_retry_policy():
    port = free_port()
    url = f"amqp://user:hidden@127.0.0.1:{port}//"
    policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0.05}
    app = Celerant("down", broker=url, task_publish_retry_policy=policy)
    with app, pytest.raises(PublishError, match=f"127.0.0.1:{port}") as caught:
        define_tasks(app).add.delay(1, 1)

    assert "hidden" not in str(caught.value)


def test_a_broker_lost_before_the_reply_queue_is_there_sends_nothing(
    app, unserved, monkeypatch
):
    app.conf.task_publish_retry_policy = {"max_retries": 1}

    def refuse(_feed):
        msg = "no reply queue today"
        raise ConnectionError(msg)

    monkeypatch.setattr(RpcFeed, "_declare", refuse)
    members = group([unserved.add.s(1, 1)])
    with pytest.raises(PublishError, match="no reply queue today") as caught:
        members.apply_async()

    assert caught.value.report.counts()["unsent"] == 1
    monkeypatch.undo()
    result = members.resume(caught.value.result)
    assert isinstance(result.backend, RpcBackend)
    assert result.report.complete
