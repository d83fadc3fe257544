"""Each member is confirmed, rejected, unknown or unsent: Redis."""

from __future__ import annotations

import uuid
from contextlib import suppress

import pytest
import redis
from kombu import Connection, Exchange, Producer, Queue

from celerant import Celerant, group
from celerant.errors import EncodeError, NotSent, PublishError
from harness import services
from harness.capture import drain
from harness.tasks import define_tasks

DATABASE = 2
URL = services.redis_url(DATABASE)


def _shop(url, queue, **settings):
    app = Celerant("celerant-t1", broker=url, task_default_queue=queue, **settings)
    tasks = define_tasks(app)
    tasks.app, tasks.queue = app, queue
    return tasks


@pytest.fixture
def client(redis_url):
    with services.redis_client(DATABASE) as client:
        yield client


@pytest.fixture
def shop(client):
    shop = _shop(URL, f"celerant-t1-{uuid.uuid4().hex[:8]}")
    with shop.app:
        yield shop
    client.delete(*client.keys(f"*{shop.queue}*") or ["-"])


def _interrupted(members, **options):
    with pytest.raises(PublishError) as caught:
        members.apply_async(**options)
    error = caught.value
    assert error.report is error.result.report
    return error


def test_a_queue_of_a_wrong_type_rejects_its_members_only(shop, client):
    bad = f"{shop.queue}-bad"
    members = group(
        [shop.add.s(i, 1).set(queue=bad if i % 2 else shop.queue) for i in range(1_200)]
    )
    members.apply_async()
    client.delete(bad)
    client.set(bad, "no list")

    error = _interrupted(members)

    # Three chunks: the first is refused in part, the second had left by then or not.
    report = error.report
    assert not error.recoverable
    assert isinstance(error.__cause__, redis.ResponseError)
    assert report.rejected[0] == (1, 2)
    assert report.counts()["confirmed"] == client.llen(shop.queue) - 600
    assert report.counts()["unknown"] == 0
    with pytest.raises(NotSent):
        error.result.get(timeout=5)

    client.delete(bad)
    assert members.resume(error.result).report.complete
    assert (client.llen(shop.queue), client.llen(bad)) == (1_200, 600)
    members.resume(error.result)
    assert (client.llen(shop.queue), client.llen(bad)) == (1_200, 600)


def test_a_queue_of_a_wrong_type_from_the_start(shop, client):
    client.set(shop.queue, "no list")
    error = _interrupted(group([shop.add.s(1, 1)]))
    assert not error.recoverable
    assert "WRONGTYPE" in str(error)
    assert error.report.unsent == [(0, 1)]


def test_a_redis_out_of_memory_is_reported(redis_server):
    server = redis_server(
        options={"maxmemory": "4mb", "maxmemory-policy": "noeviction"}
    )
    with _shop(server.url(), "celerant-t1-full").app as app:
        echo = app.tasks["celerant_test.echo"]
        members = group([echo.s("x" * 1_000) for _ in range(5_000)])
        error = _interrupted(members)
        assert error.recoverable
        counts = error.report.counts()
        with server.client() as client:
            assert counts["confirmed"] == client.llen("celerant-t1-full") > 0
            assert counts["rejected"] > 0
            assert counts["unknown"] == 0
            # From the start now: nothing leaves, not even the mark.
            again = _interrupted(members)
            assert again.recoverable
            assert again.report.counts()["confirmed"] == 0
            client.config_set("maxmemory", "0")
            for failed in (error, again):
                assert members.resume(failed.result).report.complete
            assert client.llen("celerant-t1-full") == 10_000


def test_a_redis_without_its_replicas_is_reported(redis_server):
    server = redis_server()
    with _shop(server.url(), "celerant-t1-lone").app as app, server.client() as client:
        members = group([app.tasks["celerant_test.echo"].s(i) for i in range(1_200)])
        members.apply_async()
        client.config_set("min-replicas-to-write", "1")
        error = _interrupted(members)
        assert error.recoverable
        assert error.report.counts()["confirmed"] == 0
        client.config_set("min-replicas-to-write", "0")
        assert members.resume(error.result).report.complete
        assert client.llen("celerant-t1-lone") == 2_400


def test_each_wire_tells_of_its_own_messages_only(shop, client, monkeypatch):
    # Messages with `immediate` are kombu's to send, the others the wire's.
    members = [shop.add.s(i, i) for i in range(10)]
    members[1::2] = [member.set(immediate=True) for member in members[1::2]]

    def refuse(*_args, **_named):
        message = "not now"
        raise ValueError(message)

    group(members).apply_async()
    assert client.llen(shop.queue) == 10
    monkeypatch.setattr(Producer, "publish", refuse)
    error = _interrupted(group(members))
    assert client.llen(shop.queue) == 15
    odd = [(i, i + 1) for i in range(1, 10, 2)]
    assert error.report.confirmed == [(i, i + 1) for i in range(0, 10, 2)]
    assert sorted([*error.report.unknown, *error.report.unsent]) == odd


def test_a_broken_generator_reports_exactly_the_sent_members(shop, client):
    def members():
        for i in range(1_300):
            yield shop.add.s(i, 1)
        msg = "dry"
        raise LookupError(msg)

    report = _interrupted(group(members())).report
    assert report.confirmed == [(0, client.llen(shop.queue))]
    assert report.counts()["unknown"] == 0


def test_an_interrupt_gives_no_connection_in_doubt_back(shop, client):
    def members():
        for i in range(1_300):
            yield shop.add.s(i, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group(members()).apply_async()
    assert group([shop.add.s(1, 1)] * 3).apply_async().report.complete
    numbers = [m.headers["argsrepr"] for m in drain(URL, shop.queue)]
    assert numbers[-3:] == ["(1, 1)"] * 3
    assert len(set(numbers[:-3])) == len(numbers) - 3


def test_a_mark_that_expires_while_a_generator_pauses(shop, client):
    def members():
        for i in range(2_700):
            if i in {1_100, 2_600}:
                marks = list(client.scan_iter("_kombu.celerant.*"))
                client.delete(*marks)
            yield shop.add.s(i, 1)

    assert group(members()).apply_async().report.confirmed == [(0, 2_700)]
    sent = [m.headers["group_index"] for m in drain(URL, shop.queue)]
    assert sent == list(range(2_700))


def test_a_mark_that_is_always_deleted_ends_the_dispatch(shop, client):
    def members():
        for i in range(6_000):
            if i % 500 == 499:
                client.delete(*(list(client.scan_iter("_kombu.celerant.*")) or ["-"]))
            yield shop.add.s(i, 1)

    error = _interrupted(group(members()))
    assert error.recoverable
    assert isinstance(error.__cause__, redis.WatchError)
    assert error.report.counts()["confirmed"] == client.llen(shop.queue)


def test_a_header_that_no_message_carries(shop, client):
    for members in (
        group([shop.add.s(1, 2)], headers={"x": object()}),
        group([shop.add.s(1, 2).set(headers={"x": {1, object()}})]),
    ):
        with pytest.raises(EncodeError, match="header"):
            members.apply_async()
    assert client.llen(shop.queue) == 0


def test_an_exchange_that_no_queue_is_bound_to(shop, client):
    members = group([shop.add.s(1, 2)])
    address = {"exchange": "celerant-t1-nobody", "routing_key": "x"}
    error = _interrupted(members, **address)
    assert "celerant-t1-nobody" in str(error)
    assert not error.recoverable
    # kombu's own way, if the caller says so.
    members.apply_async(mandatory=False, **address)


@pytest.mark.parametrize("kind", ["direct", "topic"])
def test_named_exchanges_route_to_their_queues(shop, kind):
    exchange = Exchange(f"{shop.queue}-x", kind)
    names = [f"{shop.queue}-{i}" for i in range(2)]
    shop.app.conf.task_queues = [Queue(n, exchange, routing_key=n) for n in names]
    members = [shop.add.s(i, i).set(queue=names[i % 2]) for i in range(10)]
    assert group(members).apply_async().report.complete
    for i, name in enumerate(names):
        sent = drain(URL, name)
        assert [m.headers["group_index"] for m in sent] == list(range(i, 10, 2))
        # Celery too sends to a direct exchange's queue by its name.
        used = "" if kind == "direct" else exchange.name
        assert {m.delivery_info["exchange"] for m in sent} == {used}


def test_a_fanout_exchange_reaches_its_listeners(shop):
    shop.app.conf.task_queues = [Queue(shop.queue, Exchange(shop.queue, "fanout"))]
    heard = []

    def hear(_, message):
        heard.append(message.headers["group_index"])

    with Connection(URL) as connection:
        consumer = connection.Consumer(
            shop.app.queues[shop.queue], callbacks=[hear], no_ack=True
        )
        with consumer:
            # The first drain subscribes: earlier messages are lost.
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.5)
            group([shop.add.s(i, i) for i in range(3)]).apply_async()
            while len(heard) < 3:
                connection.drain_events(timeout=5)
    assert heard == [0, 1, 2]


def test_priorities_and_expiring_queues_work_under_a_prefix(client):
    prefix = f"celerant-t1-{uuid.uuid4().hex[:8]}:"
    options = {"global_keyprefix": prefix, "priority_steps": [0, 5]}
    shop = _shop(URL, "celerant-t1-steps", broker_transport_options=options)
    shop.app.conf.task_queues = [Queue("celerant-t1-steps", expires=60)]
    with shop.app:
        group([shop.add.s(i, i).set(priority=i) for i in range(10)]).apply_async()
    lists = {
        key.decode(): client.pttl(key)
        for key in client.keys(f"{prefix}*")
        if client.type(key) == b"list"
    }
    lengths = [client.llen(key) for key in sorted(lists)]
    client.delete(*client.keys(f"{prefix}*"))
    assert lengths == [5, 5]
    assert all(0 < ttl <= 60_000 for ttl in lists.values())


@pytest.mark.parametrize("size", [1, 10])
def test_a_batch_of_the_callers_is_flushed_by_the_caller(shop, client, size):
    members = group([shop.add.s(i, i) for i in range(size)])
    with Connection(URL) as connection:
        producer = Producer(connection)
        with producer.batch():
            waiting = members.apply_async(producer=producer)
            assert client.llen(shop.queue) == 0
        assert client.llen(shop.queue) == size
        done = members.apply_async(producer=producer)
    # Whether the caller's batch arrives is known only after its end.
    assert waiting.report.unknown == [(0, size)]
    assert done.report.confirmed == [(0, size)]
    assert client.llen(shop.queue) == 2 * size
