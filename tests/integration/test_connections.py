"""Each kind of URL and its options, against servers that the tests start themselves."""

from __future__ import annotations

import shutil
import ssl
import uuid
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from kombu import Connection, Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from celerant import Celerant, group
from celerant.errors import CelerantError, PublishError, SettingError
from harness.certificates import self_signed
from harness.rabbitmq_server import RabbitmqServer, rabbitmq_binary
from harness.redis_sentinel import RedisSentinel
from harness.redis_server import RedisServer, free_port
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy

SIZE = 300
MASTER = "celerant-master"
#: Class 85, method 10, no-wait off: AMQP 0-9-1 with RabbitMQ's publisher confirms.
CONFIRM_SELECT = b"\x00\x55\x00\x0a\x00"
ONE_TRY = {"max_retries": 0}
pytestmark = pytest.mark.timeout(90)  # RabbitMQ takes its time to start


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # A short name: a Unix socket's path has 107 bytes at most.
    return tmp_path_factory.mktemp("c")


@pytest.fixture(scope="module")
def certificate(folder, absent):
    if shutil.which("openssl") is None:
        absent("openssl on PATH")
    return self_signed(folder)


@pytest.fixture(scope="module")
def server(folder, certificate, absent):
    """Return a Redis that listens by TCP, TLS and a Unix socket."""
    if shutil.which("redis-server") is None:
        absent("redis-server on PATH")
    home = folder / "r"
    home.mkdir()
    socket = home / "s"
    options = {"unixsocket": str(socket)}
    with RedisServer(home, certificate=certificate, options=options) as server:
        server.socket = socket
        yield server


@pytest.fixture(scope="module")
def sentinels(folder, server):
    """Return two Sentinels that watch `server`."""
    with ExitStack() as stack:
        made = []
        for name in ("a", "b"):
            home = folder / name
            home.mkdir()
            made.append(stack.enter_context(RedisSentinel(home, server, MASTER)))
        yield made


@pytest.fixture(scope="module")
def node(folder, certificate, absent):
    """Return a RabbitMQ that listens by TCP and TLS."""
    if rabbitmq_binary() is None:
        absent("rabbitmq-server or epmd")
    home = folder / "q"
    home.mkdir()
    with RabbitmqServer(home, certificate) as node:
        yield node


def make_app(broker, **settings):
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    return Celerant(name, broker=broker, task_default_queue=name, **settings)


def sent_and_run(app, size=SIZE):
    """Send a group, let the embedded worker run it, check its results; all in order."""
    add = define_tasks(app).add
    result = group(add.s(i, 1) for i in range(size)).apply_async()
    assert result.report.complete
    with app.worker(concurrency=2) as worker:
        assert result.get(timeout=20) == [i + 1 for i in range(size)]
        # Whatever the way to the broker: TLS, a socket file, Sentinel.
        assert worker._source.settling.in_volleys
    return result


def stored(server, result, *, database=0, prefix=""):
    """Return how many results of a group are on the server."""
    with server.client() as client:
        client.select(database)
        keys = [f"{prefix}celery-task-meta-{member.id}" for member in result]
        return client.exists(*keys)


# -- Redis ---------------------------------------------------------------------------


def tls(certificate):
    return f"ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={certificate.certificate}"


def test_redis_carries_messages_and_results(server):
    with make_app(f"redis://127.0.0.1:{server.port}/1") as app:
        result = sent_and_run(app)
    assert stored(server, result, database=1) == SIZE


def test_rediss_by_url_carries_messages_and_results(server, certificate):
    broker = f"rediss://localhost:{server.tls_port}/2?{tls(certificate)}"
    with make_app(broker) as app:
        result = sent_and_run(app)
    assert stored(server, result, database=2) == SIZE


def test_rediss_by_setting_carries_messages_and_results(server, certificate):
    options = {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_ca_certs": str(certificate.certificate),
    }
    broker = f"rediss://localhost:{server.tls_port}/2"
    with make_app(broker, broker_use_ssl=options) as app:
        result = sent_and_run(app)
    assert stored(server, result, database=2) == SIZE


def test_rediss_refuses_a_server_that_nobody_vouches_for(server):
    broker = f"rediss://localhost:{server.tls_port}/2?ssl_cert_reqs=CERT_REQUIRED"
    with make_app(broker, task_publish_retry_policy=ONE_TRY) as app:
        app.conf.task_ignore_result = True
        with pytest.raises(PublishError, match=r"(?i)certificate"):
            define_tasks(app).add.delay(1, 1)


def test_rediss_without_options_trusts_nobody_that_nobody_vouches_for(server):
    broker = f"rediss://localhost:{server.tls_port}/2"
    with make_app(broker, task_publish_retry_policy=ONE_TRY) as app:
        app.conf.result_backend_transport_options = {"retry_policy": ONE_TRY}
        with pytest.raises(PublishError, match=r"(?i)certificate"):
            define_tasks(app).add.apply_async((1, 1), ignore_result=True)
        with pytest.raises(CelerantError, match=r"(?i)certificate"):
            app.backend.read("any")


def test_rediss_takes_any_certificate_if_told_so(server):
    broker = f"rediss://127.0.0.1:{server.tls_port}/2?ssl_cert_reqs=none"
    with make_app(broker) as app:
        result = sent_and_run(app)
    assert stored(server, result, database=2) == SIZE


def test_redis_by_unix_socket_carries_messages_and_results(server):
    with make_app(f"redis+socket://{server.socket}?virtual_host=3") as app:
        result = sent_and_run(app)
    assert stored(server, result, database=3) == SIZE


def test_sentinel_carries_messages_and_results(server, sentinels):
    # Without it redis-py asks a dead Sentinel again for seconds.
    impatient = {"retry": Retry(NoBackoff(), 0)}
    options = {"master_name": MASTER, "sentinel_kwargs": impatient}
    # The first is dead: any Sentinel may say where the master is.
    dead = f"sentinel://127.0.0.1:{free_port()}/4"
    broker = ";".join([dead, *(f"sentinel://127.0.0.1:{s.port}/4" for s in sentinels)])
    with make_app(broker, broker_transport_options=options) as app:
        result = sent_and_run(app)
        assert result[0].id in repr(result[0])
        assert app.to_celery().backend.client.exists(f"celery-task-meta-{result[0].id}")
    assert stored(server, result, database=4) == SIZE


def test_sentinel_for_results_alone_carries_them(server, sentinels):
    urls = [f"sentinel://127.0.0.1:{s.port}/4" for s in sentinels]
    backend = ";".join([f"sentinel://127.0.0.1:{free_port()}/4", *urls])
    options = {"master_name": MASTER, "global_keyprefix": "shop"}
    broker = server.url()
    with make_app(
        broker, backend=backend, result_backend_transport_options=options
    ) as app:
        result = sent_and_run(app)
        assert app.attach(result.handle).get(timeout=5) == result.get()
    assert stored(server, result, database=4, prefix="shop_") == SIZE


def test_sentinel_with_tls_carries_messages_and_results(server, certificate, folder):
    home = folder / "t"
    home.mkdir()
    trusted = {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_ca_certs": str(certificate.certificate),
    }
    options = {"master_name": MASTER, "sentinel_kwargs": {"ssl": True, **trusted}}
    with RedisSentinel(home, server, MASTER, certificate=certificate) as sentinel:
        broker = f"sentinel://127.0.0.1:{sentinel.tls_port}/4"
        with make_app(
            broker, broker_use_ssl=trusted, broker_transport_options=options
        ) as app:
            result = sent_and_run(app)
    assert stored(server, result, database=4) == SIZE


def test_sentinel_without_the_name_of_its_master():
    backend = "sentinel://:hidden@127.0.0.1:1;sentinel://:hidden@127.0.0.1:2"
    with (
        make_app("memory://", backend=backend) as app,
        pytest.raises(SettingError, match="master_name") as caught,
    ):
        app.backend  # noqa: B018 - opened here
    assert "hidden" not in str(caught.value)
    assert "127.0.0.1:2" in str(caught.value)


# -- options of Redis ----------------------------------------------------------------


def test_options_of_redis_transports_are_honoured(server):
    database = 5
    with make_app(
        f"redis://127.0.0.1:{server.port}/{database}",
        broker_transport_options={
            "global_keyprefix": "shop:",
            "priority_steps": [0, 5],
            "sep": "~",
            "queue_order_strategy": "priority",
        },
        result_backend_transport_options={"global_keyprefix": "shop:"},
    ) as app:
        add = define_tasks(app).add
        members = [add.s(i, 1).set(priority=7 if i % 3 else 2) for i in range(SIZE)]
        result = group(members).apply_async()
        with server.client() as client:
            client.select(database)
            queue = f"shop:{app.conf.task_default_queue}"
            assert client.llen(queue) == SIZE / 3
            assert client.llen(f"{queue}~5") == SIZE / 3 * 2
            with app.worker(concurrency=2):
                assert result.get(timeout=20) == [i + 1 for i in range(SIZE)]
            keys = client.keys()
    assert [key for key in keys if not key.startswith(b"shop:")] == []
    assert stored(server, result, database=database, prefix="shop:") == SIZE


def test_messages_of_a_dead_consumer_come_back_after_the_visibility_timeout(server):
    options = {
        "visibility_timeout": 1,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    }
    broker = f"redis://127.0.0.1:{server.port}/6"
    with make_app(broker, broker_transport_options=options) as app:
        result = group(define_tasks(app).add.s(i, 1) for i in range(3)).apply_async()
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            # It dies: nothing is given back.
            channel.do_restore = False
            queue = Queue(app.conf.task_default_queue, channel=channel)
            taken = queue.get(no_ack=False)
            assert taken.headers["id"] == result[0].id
            with app.worker(concurrency=1):
                assert result.get(timeout=20) == [1, 2, 3]


# -- RabbitMQ ------------------------------------------------------------------------


def test_amqp_carries_messages(node, server):
    with make_app(node.url(), backend=server.url()) as app:
        sent_and_run(app)


def test_amqps_by_setting_carries_messages(node, server, certificate):
    options = {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": str(certificate.certificate),
        "server_hostname": "localhost",
    }
    with make_app(
        node.url(tls=True), backend=server.url(), broker_use_ssl=options
    ) as app:
        # More than one buffer on the wire, confirms read in between.
        sent_and_run(app, 3_000)


@pytest.mark.parametrize(
    ("query", "options"),
    [("?ssl_ca_certs=file", False), ("", {"ssl_ca_certs": "file"})],
)
def test_amqps_refuses_the_names_of_redis_for_tls(query, options):
    broker = f"amqps://guest:hidden@localhost:1//{query}"
    with (
        make_app(broker, broker_use_ssl=options, backend="disabled://") as app,
        pytest.raises(SettingError, match="'ca_certs': ") as caught,
    ):
        define_tasks(app).add.delay(1, 1)
    assert caught.value.name == "broker_use_ssl"
    assert "hidden" not in str(caught.value)


def test_amqps_refuses_a_server_that_nobody_vouches_for(node):
    with (
        make_app(
            node.url(tls=True),
            task_publish_retry_policy=ONE_TRY,
            task_ignore_result=True,
            backend="disabled://",
        ) as app,
        pytest.raises(PublishError, match=r"(?i)certificate"),
    ):
        define_tasks(app).add.delay(1, 1)


@pytest.mark.parametrize("confirms", [True, False])
def test_amqp_asks_for_confirms_if_told_so(node, server, confirms):
    asked = []

    def watch(stream):
        if CONFIRM_SELECT in stream:
            asked.append(True)
        return False

    with TcpProxy(node.port, lose_request=watch) as proxy:
        broker = node.url().replace(str(node.port), str(proxy.port))
        options = {"confirm_publish": confirms}
        with make_app(
            broker, backend=server.url(), broker_transport_options=options
        ) as app:
            sent_and_run(app)
    assert bool(asked) is confirms


# -- failover ------------------------------------------------------------------------


def dead(scheme):
    return f"{scheme}://guest:hidden@127.0.0.1:{free_port()}//"


def test_a_failover_list_of_redis_reaches_the_living_server(server):
    broker = f"{dead('redis')};{dead('redis')};redis://127.0.0.1:{server.port}/0"
    # One try is one of each.
    with make_app(
        broker, backend=server.url(), task_publish_retry_policy=ONE_TRY
    ) as app:
        sent_and_run(app)


def test_a_failover_list_of_rabbitmq_reaches_the_living_server(node, server):
    broker = f"{dead('amqp')};{dead('amqp')};{node.url()}"
    with make_app(broker, backend=server.url(), task_publish_retry=False) as app:
        sent_and_run(app)


def test_a_list_of_urls_is_a_failover_list_too(server):
    with make_app(
        [dead("redis"), f"redis://127.0.0.1:{server.port}/0"], backend=server.url()
    ) as app:
        assert "hidden" not in repr(app)
        sent_and_run(app)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_list_of_dead_brokers_names_them_all_without_passwords(scheme):
    urls = [dead(scheme), dead(scheme)]
    with make_app(
        ";".join(urls), task_publish_retry_policy=ONE_TRY, task_ignore_result=True
    ) as app:
        assert "hidden" not in repr(app)
        with pytest.raises(PublishError) as caught:
            group([define_tasks(app).add.s(i, 1) for i in range(3)]).apply_async()
    message = str(caught.value)
    for url in urls:
        assert url.replace("hidden", "**").rstrip("/") in message
    assert "hidden" not in message
    assert caught.value.report.counts()["unsent"] == 3


@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_broker_that_dies_gives_way_to_the_next(server, kind, request):
    alive = server.url() if kind == "redis" else request.getfixturevalue("node").url()
    port = urlsplit(alive).port
    with ExitStack() as life:
        first = life.enter_context(TcpProxy(port))
        broker = f"{alive.replace(str(port), str(first.port))};{alive}"
        app = make_app(broker, backend=server.url())
        add = define_tasks(app).add
        with app, app.worker(concurrency=2):
            result = group(add.s(i, 1) for i in range(3)).apply_async()
            assert result.get(timeout=20) == [1, 2, 3]
            life.close()
            result = group(add.s(i, 1) for i in range(SIZE)).apply_async()
            assert result.get(timeout=20) == [i + 1 for i in range(SIZE)]


def test_redis_servers_that_fail_over_are_no_store():
    urls = "redis://:hidden@127.0.0.1:1;redis://:hidden@127.0.0.1:2"
    with make_app(urls) as app, pytest.raises(SettingError, match="result_backend"):
        app.AsyncResult("x").get(timeout=1)
    with (
        make_app("memory://", backend=urls) as app,
        pytest.raises(SettingError, match="sentinel://") as caught,
    ):
        app.backend  # noqa: B018 - opened here
    assert "hidden" not in str(caught.value)


def test_connections_carry_the_options(server):
    options = {"visibility_timeout": 77, "queue_order_strategy": "sorted"}
    with (
        make_app(server.url(), broker_transport_options=options) as app,
        app.connection_for_write() as connection,
    ):
        assert isinstance(connection, Connection)
        channel = connection.default_channel
        assert channel.visibility_timeout == 77
        assert channel.queue_order_strategy == "sorted"
