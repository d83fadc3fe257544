"""If the special wire lacks a right or a connection, kombu's `publish` sends."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import threading
import uuid

import celery
import pytest
from kombu import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

import celerant.celery
from celerant import Celerant, PublishError, group
from celerant.dispatch.wires.redis_watch import MarkWatch
from harness import services
from harness.capture import drain
from harness.redis_server import free_port
from harness.tasks import define_tasks

SIZE = 600
QUEUE = "celerant-test-back"


def _own(url, queue=QUEUE, **settings):
    app = Celerant(
        f"celerant-{uuid.uuid4().hex[:8]}", broker=url, backend="disabled://"
    )
    app.conf.task_default_queue = queue
    for name, value in settings.items():
        setattr(app.conf, name, value)
    return app


def _send_all(app, *, size=SIZE):
    """Send a group twice, and a task alone."""
    tasks = define_tasks(app)
    for start in (0, size):
        members = group([tasks.add.s(i, 0) for i in range(start, start + size)])
        assert members.apply_async().report.complete
    tasks.add.delay(2 * size, 0)
    return list(range(2 * size + 1))


def _swap_in(url, queue=QUEUE, **settings):
    app = celery.Celery(f"celerant-{uuid.uuid4().hex[:8]}", broker=url)
    app.conf.update(task_ignore_result=True, task_default_queue=queue, **settings)
    return app


def _queued(client, queue=QUEUE):
    bodies = [json.loads(raw)["body"] for raw in client.lrange(queue, 0, -1)]
    client.delete(queue)
    return sorted(json.loads(base64.b64decode(body))[0][0] for body in bodies)


@pytest.fixture
def said(caplog):
    """Return how often it was logged that kombu sends."""
    caplog.set_level(logging.WARNING, "celerant")
    return lambda: [r.message for r in caplog.records if "one by one" in r.message]


# -- Redis -----------------------------------------------------------------------------

_ALL = "~* &* +@all"


@pytest.mark.parametrize(
    ("rights", "is_slow"),
    [
        pytest.param(f"{_ALL} -watch", False, id="no WATCH"),
        pytest.param(f"{_ALL} -unwatch", False, id="no UNWATCH"),
        pytest.param(f"{_ALL} -set -expire", False, id="no SET"),
        pytest.param(
            f"~{QUEUE}* ~_kombu.binding* &* +@all", False, id="no right to the mark"
        ),
        pytest.param(
            f"%RW~{QUEUE}* ~_kombu.binding* %R~* &* +@all", False, id="mark only read"
        ),
    ],
)
def test_a_redis_user_with_few_rights_sends_all_messages(
    redis_server, said, rights, is_slow
):
    server = redis_server(acl=[f"user few on >secret {rights}"])
    with _own(server.url("few", "secret")) as app, server.client() as client:
        sent = _send_all(app)
        assert _queued(client) == sent
        assert list(client.scan_iter("*celerant.*")) == []
    assert bool(said()) is is_slow


@pytest.mark.parametrize("command", ["multi", "exec"])
def test_a_redis_without_transactions_takes_messages_of_kombu(
    redis_server, said, command
):
    # Queues are declared before: kombu does that in a transaction, too.
    server = redis_server(acl=[f"user few on >secret {_ALL} -{command}"])
    with _own(server.url()) as app:
        define_tasks(app).add.delay(0, 0)
    with server.client() as client:
        _queued(client)
        with _own(server.url("few", "secret")) as app:
            tasks = define_tasks(app)
            members = group([tasks.add.s(i, 0) for i in range(5)])
            report = members.apply_async(exchange="", declare=[]).report
            assert report.complete
            assert _queued(client) == list(range(5))
    assert len(said()) == 1
    assert "no transactions" in said()[0]


@pytest.mark.parametrize("most", [1, 2])
def test_a_redis_of_few_connections_gets_all_messages(redis_server, said, most):
    server = redis_server()
    options = {"max_connections": most}
    with server.client() as client:
        with _own(server.url(), broker_transport_options=options) as app:
            sent = _send_all(app)
            assert _queued(client) == sent
        app = _swap_in(server.url(), broker_transport_options=options)
        with celerant.celery.install():
            one = app.signature("t.add")
            celery.group([one.clone((i,)) for i in range(20)]).apply_async()
        assert _queued(client) == list(range(20))
    assert bool(said()) is (most == 1)


def test_redis_at_its_limit_of_clients_gets_all_messages(redis_server):
    server = redis_server()
    app = _swap_in(server.url(), broker_pool_limit=1)
    one = app.signature("t.add")
    one.apply_async((0,))
    with server.client() as client:
        client.config_set("maxclients", len(client.client_list()))
        with celerant.celery.install():
            for _ in range(2):
                celery.group([one.clone((i,)) for i in range(1, 20)]).apply_async()
        assert _queued(client) == sorted([0, *range(1, 20), *range(1, 20)])
    app.close()


@pytest.fixture
def cluster(redis_server):
    """A node of a Redis Cluster that serves the queue's slot and few others."""
    server = redis_server(
        options={
            "cluster-enabled": "yes",
            # Else it is 10,000 higher than the other one, which may not be possible.
            "cluster-port": str(free_port()),
            "cluster-require-full-coverage": "no",
            "cluster-config-file": "nodes.conf",
        }
    )
    with server.client() as client:
        # The text in the braces of a key decides its slot.
        for name in ("one", "two"):
            slot = client.execute_command("CLUSTER", "KEYSLOT", name)
            client.execute_command("CLUSTER", "ADDSLOTS", slot)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 1)
        yield server


def _await_cluster(client):
    while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
        threading.Event().wait(0.05)


@pytest.mark.parametrize("is_whole", [False, True])
def test_messages_to_a_queue_with_a_hash_tag_reach_a_cluster(cluster, said, is_whole):
    with cluster.client() as client:
        if is_whole:
            known = {
                client.execute_command("CLUSTER", "KEYSLOT", name)
                for name in ("one", "two")
            }
            rest = [slot for slot in range(16384) if slot not in known]
            client.execute_command("CLUSTER", "ADDSLOTS", *rest)
        _await_cluster(client)
        with _own(cluster.url(), queue="{one}") as app:
            sent = _send_all(app)
            assert _queued(client, "{one}") == sent
            # Queues of two slots in one group.
            tasks = define_tasks(app)
            report = (
                group(
                    [
                        tasks.add.s(i, 0).set(queue="{two}" if i % 3 else "{one}")
                        for i in range(SIZE)
                    ]
                )
                .apply_async()
                .report
            )
            assert report.complete
            assert _queued(client, "{one}") == list(range(0, SIZE, 3))
            assert _queued(client, "{two}") == [i for i in range(SIZE) if i % 3]
        assert list(client.scan_iter("*celerant.*")) == []
    assert said() == []


def test_a_lost_connection_between_two_slots_is_mended_within_the_policy(
    cluster, monkeypatch
):
    probe, calls = MarkWatch.set, []

    def losing(self):
        calls.append(self)
        # The first two look whether the slots may have marks.
        if len(calls) in {3, 4}:
            raise RedisConnectionError("gone")
        probe(self)

    monkeypatch.setattr(MarkWatch, "set", losing)
    with cluster.client() as client:
        _await_cluster(client)
        with _own(cluster.url(), queue="{one}") as app:
            add = define_tasks(app).add
            members = [
                add.s(i, 0).set(queue="{two}" if i % 2 else "{one}") for i in range(10)
            ]
            assert group(members).apply_async().report.complete
        assert len(calls) > 4
        assert _queued(client, "{one}") == list(range(0, 10, 2))
        assert _queued(client, "{two}") == list(range(1, 10, 2))


# -- RabbitMQ --------------------------------------------------------------------------


def _control(*words):
    subprocess.run(["rabbitmqctl", "-q", *words], check=True, capture_output=True)


@pytest.fixture
def vhost(rabbitmq_url):
    """A virtual host and a user of the test's own."""
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    try:
        _control("add_vhost", name)
    except (OSError, subprocess.CalledProcessError):
        services.absent("the right to run rabbitmqctl")
    _control("add_user", name, "secret")
    for user in (name, "guest"):
        _control("set_permissions", "-p", name, user, ".*", ".*", ".*")
    yield name
    _control("delete_vhost", name)
    _control("delete_user", name)


def _url(vhost):
    return f"amqp://{vhost}:secret@127.0.0.1:{services.RABBITMQ_PORT}/{vhost}"


def _rabbit_queued(vhost, queue=QUEUE):
    for kind in ("set_vhost_limits -p", "set_user_limits"):
        _control(*kind.split(), vhost, '{"max-connections": -1}')
    _control("set_user_limits", vhost, '{"max-channels": -1}')
    messages = drain(_url(vhost), queue)
    return sorted(json.loads(message.body)[0][0] for message in messages)


def _limit(vhost, limit):
    if limit == "connections of a vhost":
        _control("set_vhost_limits", "-p", vhost, '{"max-connections": 1}')
    elif limit == "connections of a user":
        _control("set_user_limits", vhost, '{"max-connections": 1}')
    else:
        _control("set_user_limits", vhost, '{"max-channels": 1}')


LIMITS = ["connections of a vhost", "connections of a user", "channels of a user"]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("limit", LIMITS)
def test_an_app_of_one_connection_or_channel_sends_all_messages(vhost, limit):
    _limit(vhost, limit)
    with _own(_url(vhost)) as app:
        sent = _send_all(app, size=50)
    assert _rabbit_queued(vhost) == sent


@pytest.mark.timeout(90)
def test_threads_take_turns_if_the_broker_takes_one_connection(vhost):
    _limit(vhost, LIMITS[0])
    with _own(_url(vhost)) as app:
        tasks = define_tasks(app)
        failed = []

        def send(start):
            try:
                for i in range(start, start + 10):
                    group([tasks.add.s(i, 0)]).apply_async()
            except PublishError as exc:
                failed.append(exc)

        threads = [threading.Thread(target=send, args=(10 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
    assert _rabbit_queued(vhost) == list(range(40))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("limit", LIMITS)
def test_the_swap_in_sends_beside_celerys_own_connection(vhost, limit):
    app = _swap_in(_url(vhost), broker_pool_limit=1)
    one = app.signature("t.add")
    one.apply_async((0,))
    _limit(vhost, limit)
    with celerant.celery.install():
        for start in (1, 100):
            members = [one.clone((i,)) for i in range(start, start + 99)]
            celery.group(members).apply_async()
        one.apply_async((199,))
    app.close()
    assert _rabbit_queued(vhost) == list(range(200))


def test_lent_connection_keeps_no_channel_or_reply(vhost):
    heard = []
    app = _swap_in(
        _url(vhost),
        broker_pool_limit=1,
        broker_transport_options={"on_blocked": heard.append},
    )
    one = app.signature("t.add")
    one.apply_async((0,))
    _limit(vhost, LIMITS[0])
    with celerant.celery.install():
        for _ in range(3):
            celery.group([one.clone((1,))] * 3).apply_async()
    with app.pool.acquire() as connection:
        assert isinstance(connection, Connection)
        # Connection's own, and Celery's.
        assert len(connection.connection.channels) == 2
        # Bytes read by a wire that has left would be kept for ever.
        transport = connection.connection.transport
        assert transport._quick_recv == transport.sock.recv
        connection.connection.on_blocked("full")
        assert heard == ["full"]
    app.close()
