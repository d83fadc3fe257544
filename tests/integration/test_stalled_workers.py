"""Embedded workers whose broker answers nothing any more, the connection open."""

from __future__ import annotations

import time

import pytest

from celerant import group
from harness.stalling import STALL, stalling_app
from harness.tasks import define_tasks
from harness.tcp_proxy import TcpProxy
from harness.until import until

pytestmark = pytest.mark.timeout(120)  # RabbitMQ takes its time to start

SIZE = 100
#: Seconds in which a worker has noticed that its broker is silent, and come back.
NOTICED_WITHIN = 15 * STALL


@pytest.fixture
def store(redis_server):
    return redis_server()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request):
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")()
    else:
        server = request.getfixturevalue("own_node")
    yield server
    server.thaw()


def _app(broker, store, url=None):
    app = stalling_app(url or broker.url(), backend=store.url())
    return app, define_tasks(app)


def _run_all(tasks):
    result = group([tasks.add.s(i, 1) for i in range(SIZE)]).apply_async()
    assert result.get(timeout=NOTICED_WITHIN) == list(range(1, SIZE + 1))


def test_a_worker_comes_back_from_a_broker_that_stopped(broker, store, caplog):
    caplog.set_level("INFO", "celerant.worker")
    app, tasks = _app(broker, store)
    with app, app.worker(concurrency=2) as worker:
        _run_all(tasks)
        broker.freeze()
        until(lambda: "lost " in caplog.text, NOTICED_WITHIN)
        broker.thaw()
        until(lambda: "connected again" in caplog.text, NOTICED_WITHIN)
        _run_all(tasks)
        answers = app.control.ping(destination=[worker.hostname], timeout=10)
        assert answers == [{worker.hostname: {"ok": "pong"}}]


def test_a_worker_whose_connections_are_swallowed_makes_others(broker, store, caplog):
    caplog.set_level("INFO", "celerant.worker")
    with TcpProxy(broker.port) as proxy:
        url = broker.url().replace(str(broker.port), str(proxy.port))
        app, tasks = _app(broker, store, url)
        with app, app.worker(concurrency=2):
            _run_all(tasks)
            caplog.clear()
            proxy.mute(new=False)
            until(lambda: "lost " in caplog.text, NOTICED_WITHIN)
            _run_all(tasks)


def test_a_worker_of_a_stopped_broker_stops(broker, store):
    app, tasks = _app(broker, store)
    with app:
        worker = app.worker(concurrency=2)
        worker.start()
        _run_all(tasks)
        broker.freeze()
        began = time.monotonic()
        worker.stop()
        assert time.monotonic() - began < NOTICED_WITHIN
        broker.thaw()


def test_results_of_tasks_that_ran_while_the_store_was_stopped_are_stored(
    redis_server, store, caplog
):
    app, tasks = _app(redis_server(), store)
    app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
    with app, app.worker(concurrency=2):
        _run_all(tasks)
        store.freeze()
        result = group([tasks.add.s(i, 1) for i in range(4)]).apply_async()
        until(lambda: "result backend is away" in caplog.text, NOTICED_WITHIN)
        store.thaw()
        until(result.ready, NOTICED_WITHIN)
        assert result.get(timeout=NOTICED_WITHIN) == [1, 2, 3, 4]
