"""Result stores that answer nothing any more, the connection open."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from celerant import group
from celerant.errors import CelerantError, PublishError, ResultTimeout
from harness.stalling import ONE_RETRY, STALL, stalling_app
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy
from harness.until import until

pytestmark = pytest.mark.timeout(120)  # RabbitMQ takes its time to start

SIZE = 1_500
#: Seconds: two tries and the reads beside them.
ENDS_WITHIN = 10 * STALL


@pytest.fixture
def server(redis_server):
    server = redis_server()
    yield server
    server.thaw()


def _app(url, **settings):
    return stalling_app(
        url,
        backend=url,
        task_publish_retry_policy=ONE_RETRY,
        result_backend_transport_options={"retry_policy": ONE_RETRY},
        **settings,
    )


def _store(app, result):
    for index, member in enumerate(result):
        app.backend.store_result(member.id, index, "SUCCESS")


def test_reads_of_a_stopped_store_end(server):
    with _app(server.url()) as app:
        add = define_tasks(app).add
        result = group([add.s(i, 0) for i in range(20)]).apply_async()
        alone = add.delay(1, 1)
        assert not result.ready()
        server.freeze()
        began = time.monotonic()
        with pytest.raises(CelerantError, match="failed"):
            result.get()
        with pytest.raises(CelerantError, match="failed"):
            alone.get()
        with pytest.raises(CelerantError, match="failed"):
            app.AsyncResult("unknown").state  # noqa: B018 - it reads
        with pytest.raises(CelerantError, match="failed"):
            app.backend.store_result("unknown", 1, "SUCCESS")
        assert time.monotonic() - began < 2 * ENDS_WITHIN
        server.thaw()
        _store(app, result)
        assert result.get(timeout=20) == list(range(20))


def test_a_timeout_is_kept_while_the_store_is_stopped(server):
    with _app(server.url()) as app:
        result = group([define_tasks(app).add.s(i, 0) for i in range(5)]).apply_async()
        assert not result.ready()
        server.freeze()
        began = time.monotonic()
        with pytest.raises(ResultTimeout):
            result.get(timeout=0.3)
        assert time.monotonic() - began < STALL


def test_a_store_that_stops_for_a_moment_is_waited_for(server):
    with _app(server.url()) as app:
        result = group([define_tasks(app).add.s(i, 0) for i in range(5)]).apply_async()
        _store(app, result)
        server.freeze()
        threading.Timer(STALL / 4, server.thaw).start()
        assert result.get() == list(range(5))


def test_a_subscription_whose_news_are_swallowed_is_made_again(server):
    with TcpProxy(server.port) as proxy, _app(server.url(port=proxy.port)) as app:
        result = group(
            [define_tasks(app).add.s(i, 0) for i in range(SIZE)]
        ).apply_async()
        assert not result.ready()
        proxy.mute(new=False)
        with _app(server.url()) as worker:
            _store(worker, result)
        assert result.get(timeout=ENDS_WITHIN) == list(range(SIZE))


def test_one_silent_connection_is_not_followed_by_the_others_of_its_pool(server):
    with TcpProxy(server.port) as proxy, _app(server.url(port=proxy.port)) as app:
        # As many idle connections as threads have asked at a time.
        server.freeze()
        threads = [
            threading.Thread(target=app.backend.read, args=("unknown",))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        until(lambda: proxy.count == len(threads))
        server.thaw()
        for thread in threads:
            thread.join(10)
        proxy.mute(new=False)
        assert app.AsyncResult("unknown").state == "PENDING"


@pytest.fixture
def by_rpc(own_node):
    with stalling_app(own_node.url(), task_publish_retry_policy=ONE_RETRY) as app:
        yield app
        own_node.thaw()


def test_waiting_for_replies_of_a_stopped_broker_ends(own_node, by_rpc):
    result = define_tasks(by_rpc).add.delay(1, 1)
    assert not result.ready()
    own_node.freeze()
    began = time.monotonic()
    with pytest.raises(CelerantError):
        result.get()
    with pytest.raises(PublishError):
        define_tasks(by_rpc).add.delay(1, 1)
    assert time.monotonic() - began < 2 * ENDS_WITHIN
    own_node.thaw()
    with by_rpc.worker(concurrency=1):
        result = define_tasks(by_rpc).add.delay(1, 2)
        with suppress(CelerantError):
            # Told once: the queue was lost, with the replies before it was made anew.
            result.get(timeout=0)
        assert result.get(timeout=ENDS_WITHIN) == 3
