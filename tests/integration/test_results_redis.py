"""Results in a real Redis, beside stock Celery."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import redis
from celery import Celery, states
from celery.exceptions import TaskRevokedError

from celerant.context.request import Request
from celerant.errors import CelerantError, ResultExpired, ResultTimeout, TaskRevoked
from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from celerant.results.consuming import subscriptions, sweeping
from celerant.results.handle import attach
from harness import services
from harness.groups import group_of
from harness.until import until

DATABASE = 9
URL = services.redis_url(DATABASE)

pytestmark = [
    pytest.mark.redis,
    # Stock Celery's own store; redis-py 8 names another command for it.
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]


class RefusedError(Exception):
    pass


@pytest.fixture
def client():
    services.require_redis()
    with services.redis_client(DATABASE) as client:
        client.flushdb()
        yield client
        client.flushdb()


@pytest.fixture
def open_(client):
    """Open backends that are closed afterwards."""
    opened = []

    def open_(url=URL, **settings):
        opened.append(open_backend(url, name="test", **settings))
        return opened[-1]

    yield open_
    for backend in opened:
        backend.close()


@pytest.fixture
def backend(open_):
    return open_()


@pytest.fixture
def stock(client):
    """Make stock Celery apps on the same results."""
    made = []

    def make(**conf):
        app = Celery("stock", broker="memory://", backend=URL, set_as_current=False)
        app.conf.update(conf)
        made.append(app)
        return app

    yield make
    for app in made:
        app.backend.client.close()
        app.close()


@pytest.mark.parametrize(
    "value", [5, "é\U0001f600", [1, {"a": None}], 2**70, {"b": b"bytes"}, 1.5]
)
def test_a_stock_client_reads_our_records(backend, stock, value):
    backend.store_result("a", value, "SUCCESS")
    result = stock().AsyncResult("a")
    assert result.get(timeout=5) == value
    assert result.date_done is not None


def test_a_stock_client_reads_our_failures(backend, stock):
    backend.store_result("a", RefusedError("no", 7), "FAILURE", "the traceback")
    backend.store_result("b", TaskRevoked("terminated"), "REVOKED")
    app = stock()
    with pytest.raises(Exception, match="no") as caught:
        app.AsyncResult("a").get(timeout=5)
    assert type(caught.value).__name__ == "RefusedError"
    assert app.AsyncResult("a").traceback == "the traceback"
    with pytest.raises(TaskRevokedError, match="terminated"):
        app.AsyncResult("b").get(timeout=5)


def test_the_record_is_the_one_that_a_stock_worker_stores(open_, stock, client):
    request = {
        "id": "a",
        "task": "shop.add",
        "args": [1],
        "kwargs": {},
        "group": "g",
        "parent_id": "p",
        "hostname": "w@h",
        "delivery_info": {"routing_key": "q"},
    }
    app = stock(result_extended=True)
    from celery.app.task import Context

    theirs = Context(request, children=[])
    app.backend.store_result("theirs", [1], states.SUCCESS, request=theirs)
    ours = open_(extended=True)
    ours.store_result("ours", [1], "SUCCESS", request=Request(**request))
    left = ours.decode(client.get("celery-task-meta-theirs"))
    right = ours.decode(client.get("celery-task-meta-ours"))
    assert list(left) == list(right)
    differing = {key for key in left if left[key] != right[key]}
    assert differing == {"date_done", "task_id"}


def test_our_client_reads_records_of_a_stock_worker(backend, stock):
    app = stock()
    app.backend.mark_as_done("a", {"x": [1]})
    app.backend.mark_as_failure("b", KeyError("k"), "their traceback")
    app.backend.mark_as_revoked("c", "expired")
    app.backend.mark_as_started("d", pid=1)
    assert AsyncResult("a", backend).get(timeout=5) == {"x": [1]}
    failed = AsyncResult("b", backend)
    with pytest.raises(KeyError):
        failed.get(timeout=5)
    assert failed.traceback == "their traceback"
    with pytest.raises(TaskRevoked, match="expired"):
        AsyncResult("c", backend).get(timeout=5)
    running = AsyncResult("d", backend)
    assert running.state == "STARTED"
    with pytest.raises(ResultTimeout):
        running.get(timeout=0)


@pytest.mark.parametrize(
    ("conf", "settings"),
    [
        pytest.param({"result_compression": "gzip"}, {}, id="compressed"),
        pytest.param(
            {"result_serializer": "pickle", "result_accept_content": ["pickle"]},
            {"serializer": "pickle", "accept": ["pickle"]},
            id="pickle",
        ),
        pytest.param(
            {"result_backend_transport_options": {"global_keyprefix": "shop"}},
            {"transport_options": {"global_keyprefix": "shop"}},
            id="key prefix",
        ),
    ],
)
def test_forms_and_prefixes_agree_with_stock(open_, stock, conf, settings):
    app, backend = stock(**conf), open_(**settings)
    waiting = group_of(2, backend)
    assert not waiting.ready()
    for index, member in enumerate(waiting):
        app.backend.mark_as_done(member.id, [index])
    assert waiting.get(timeout=5) == [[0], [1]]
    backend.store_result("ours", "v", "SUCCESS")
    assert app.AsyncResult("ours").get(timeout=5) == "v"


def test_records_live_as_long_as_configured(open_, client):
    backend = open_(expires=100, failure_expires=10)
    backend.store_result("a", 1, "SUCCESS")
    backend.store_result("b", KeyError("k"), "FAILURE")
    assert 90 < client.ttl("celery-task-meta-a") <= 100
    assert 0 < client.ttl("celery-task-meta-b") <= 10
    open_(expires=None).store_result("c", 1, "SUCCESS")
    assert client.ttl("celery-task-meta-c") == -1


def test_a_stored_success_stays(backend, stock):
    stock().backend.mark_as_done("a", 1)
    backend.store_result("a", KeyError("late"), "FAILURE")
    assert AsyncResult("a", backend).get(timeout=5) == 1


@pytest.mark.parametrize("n", [1, 10, 3000])
def test_results_are_pushed_not_polled(backend, n, monkeypatch):
    # A sweep would bring them too, only later than the test's patience.
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    result = group_of(n, backend)
    assert not result.ready()
    storing = threading.Thread(
        target=lambda: [
            backend.store_result(task_id, i, "SUCCESS")
            for i, task_id in enumerate(result.roster.ids(0, n))
        ]
    )
    # The first look of a large group returns before its subscription is in force.
    until(lambda: not backend.consumer.service.is_reading)
    storing.start()
    assert result.get(timeout=20) == list(range(n))
    storing.join()


def test_a_large_group_listens_by_one_pattern(backend, client, monkeypatch):
    monkeypatch.setattr(subscriptions, "_CHANNELS_MOST", 100)
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    before = client.pubsub_numpat()
    result = group_of(500, backend)
    result.roster.adopt(7, "my-own-id")
    assert not result.ready()
    until(lambda: not backend.consumer.service.is_reading)
    assert client.pubsub_numpat() == before + 1
    assert client.pubsub_numsub("celery-task-meta-my-own-id")[0][1] == 1
    for index, task_id in enumerate(result.roster.ids(0, 500)):
        backend.store_result(task_id, index, "SUCCESS")
    assert result.get(timeout=20) == list(range(500))
    until(lambda: client.pubsub_numpat() == before)


def test_a_key_prefix_that_is_a_pattern_means_itself(open_, client, monkeypatch):
    monkeypatch.setattr(subscriptions, "_CHANNELS_MOST", 0)
    monkeypatch.setattr(sweeping, "_SWEEP_INTERVAL", 3600.0)
    backend = open_(transport_options={"global_keyprefix": "a[b]*?\\:"})
    result = group_of(1, backend)
    assert not result.ready()
    until(lambda: not backend.consumer.service.is_reading)
    backend.store_result(result[0].id, 1, "SUCCESS")
    assert result.get(timeout=10) == [1]


def test_channels_are_left_when_all_is_done(backend, client):
    results = [group_of(20, backend) for _ in range(3)]
    for result in results:
        assert not result.ready()
    pattern = "celery-task-meta-" + results[0].roster.prefix + "*"
    assert len(client.pubsub_channels(pattern)) == 20
    for task_id in results[0].roster.ids(0, 20):
        backend.store_result(task_id, 1, "SUCCESS")
    assert results[0].get(timeout=5) == [1] * 20
    until(lambda: not client.pubsub_channels(pattern))
    others = "celery-task-meta-" + results[1].roster.prefix + "*"
    assert len(client.pubsub_channels(others)) == 20


def test_a_killed_connection_loses_no_result(backend, client):
    result = group_of(5, backend)
    assert not result.ready()
    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    for task_id in result.roster.ids(0, 5):
        backend.store_result(task_id, 1, "SUCCESS")
    assert result.get(timeout=10) == [1] * 5


def test_a_restart_of_redis_is_survived(redis_server, open_):
    server = redis_server()
    backend = open_(server.url())
    result = group_of(3, backend)
    assert not result.ready()
    values = []
    waiting = threading.Thread(target=lambda: values.append(result.get(timeout=25)))
    waiting.start()
    server.stop()
    server.__enter__()
    for index, task_id in enumerate(result.roster.ids(0, 3)):
        backend.store_result(task_id, index, "SUCCESS")
    waiting.join()
    assert values == [[0, 1, 2]]


def test_a_redis_that_stays_away_is_an_error_with_its_url(redis_server, open_, caplog):
    server = redis_server()
    url = f"redis://:secret@127.0.0.1:{server.port}/0"
    server.stop()
    options = {"retry_policy": {"max_retries": 2}}
    backend = open_(url, transport_options=options)
    for act in (
        lambda: group_of(1, backend).get(timeout=20),
        lambda: backend.store_result("a", 1, "SUCCESS"),
    ):
        with pytest.raises(CelerantError, match=rf"{server.port}/0 failed") as caught:
            act()
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, ConnectionError | redis.RedisError)
    # Nobody waits for the end of a long policy without a word.
    said = [one for one in caplog.messages if "is away, and tried again" in one]
    assert len(said) == 1
    assert f"127.0.0.1:{server.port}/0 is away, and tried again: Error 111" in said[0]


@pytest.mark.parametrize(
    "rights",
    [
        pytest.param("&* +@all -psubscribe", id="no patterns"),
        pytest.param("&* +@all -psubscribe -subscribe", id="no pub/sub commands"),
        pytest.param("resetchannels +@all", id="no channels"),
    ],
)
def test_results_come_by_reading_without_the_right_to_subscribe(
    redis_server, open_, monkeypatch, rights
):
    monkeypatch.setattr(subscriptions, "_CHANNELS_MOST", 5)
    server = redis_server(acl=[f"user reader on >pw ~* {rights}"])
    reader = open_(server.url("reader", "pw"))
    writer = open_(server.url())
    result = group_of(10, reader)
    assert not result.ready()
    for index, task_id in enumerate(result.roster.ids(0, 10)):
        writer.store_result(task_id, index, "SUCCESS")
    assert result.get(timeout=10) == list(range(10))


def test_a_unix_socket_serves_as_well(redis_server, open_, tmp_path):
    path = tmp_path / "redis.sock"
    redis_server(options={"unixsocket": str(path)})
    for scheme in ("socket", "redis+socket"):
        backend = open_(f"{scheme}://{path}?virtual_host=1")
        result = group_of(2, backend)
        assert not result.ready()
        for task_id in result.roster.ids(0, 2):
            backend.store_result(task_id, 1, "SUCCESS")
        assert result.get(timeout=5) == [1, 1]


def test_another_process_attaches_by_the_handle(backend):
    result = group_of(3, backend, ignored=[1])
    result.roster.adopt(2, "mine")
    backend.store_result(result[0].id, "a", "SUCCESS")
    backend.store_result("mine", "c", "SUCCESS")
    program = (
        "import sys\n"
        "from celerant.results.backends import open_backend\n"
        "from celerant.results.handle import attach\n"
        "backend = open_backend(sys.argv[1], name='other')\n"
        "print(attach(sys.argv[2], backend).get(timeout=10))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, URL, result.handle],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['a', None, 'c']\n"
    assert done.stderr == ""


def test_the_stored_part_of_a_handle_lives_as_long_as_the_results(open_, client):
    backend = open_(expires=50)
    handle = group_of(2, backend, ignored=[0]).handle
    (key,) = client.keys("celerant-aside-*")
    assert 0 < client.ttl(key) <= 50
    client.delete(key)
    with pytest.raises(ResultExpired):
        attach(handle, backend)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_and_its_parent_each_get_their_results(backend):
    result = group_of(2, backend)
    assert not result.ready()
    ids = result.roster.ids(0, 2)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            backend.store_result(ids[0], "child", "SUCCESS")
            code = 0 if result[0].get(timeout=5) == "child" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    backend.store_result(ids[1], "parent", "SUCCESS")
    assert result.get(timeout=5) == ["child", "parent"]


def test_a_program_that_ends_while_waiting_ends_in_silence(redis_url):
    program = (
        "import os, sys\n"
        "from celerant.results.backends import open_backend\n"
        "from celerant.results.async_result import AsyncResult\n"
        "result = AsyncResult('never', open_backend(sys.argv[1], name='x'))\n"
        "print(result.ready())\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, URL],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
