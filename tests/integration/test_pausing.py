"""Fed groups that are paused while their broker is away, or their source is slow."""

from __future__ import annotations

import json
import threading
import time

import pytest
import redis

from celerant import Celerant, group
from celerant.results import announcing
from harness import services
from harness.tcp_proxy import TcpProxy
from harness.until import until

WAIT = 30


@pytest.fixture
def app_by(own_urls, new_queue):
    """Return apps of one queue, which reach the broker at a port."""
    name, apps = new_queue(), []

    def make(port=services.REDIS_PORT):
        broker = own_urls["redis"].replace(f":{services.REDIS_PORT}", f":{port}")
        app = Celerant(
            name,
            broker=broker,
            backend=own_urls["results"],
            task_default_queue=name,
            result_expires=600,
            set_as_current=False,
        )
        app.backend.obstacle = lambda: None
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def indices_in(app, own_urls):
    with redis.Redis.from_url(own_urls["redis"]) as client:
        raw = client.lrange(app.conf.task_default_queue, 0, -1)
    return [json.loads(one)["headers"]["group_index"] for one in reversed(raw)]


def members_of(app, go):
    yield app.signature("fed", (0,))
    go.wait(WAIT)
    for number in range(1, 400):
        yield app.signature("fed", (number,))


def fed_without_broker(app, proxy, own_urls, caplog):
    """Return the result of a group whose broker is away since its first member."""
    go = threading.Event()
    result = group(members_of(app, go), app=app).apply_async(window=1000)
    until(lambda: indices_in(app, own_urls) == [0])
    proxy.watch(lambda *_: True)
    proxy.cut()
    go.set()
    until(lambda: "broker lost" in caplog.text, WAIT)
    return result


def test_nothing_leaves_after_a_pause_while_the_broker_was_away(
    app_by, own_urls, caplog
):
    with TcpProxy(services.REDIS_PORT) as proxy:
        app = app_by(proxy.port)
        result = fed_without_broker(app, proxy, own_urls, caplog)
        began = time.monotonic()
        result.pause()
        # Nothing is leaving, so there is nothing to wait for.
        assert time.monotonic() - began < 4
        assert not result.feeding._sending.locked()
        proxy.watch(None)
        # The broker can be reached again.
        app.signature("plain").apply_async()
        assert indices_in(app, own_urls) == [0, None]
        result.resume_feeding()
        until(lambda: result.sealed, WAIT)
        assert result.report.complete
        left = indices_in(app, own_urls)
    assert sorted(left, key=lambda one: -1 if one is None else one) == [
        None,
        *range(400),
    ]


def test_a_group_that_is_paused_while_the_broker_is_away_can_be_closed(
    app_by, own_urls, caplog
):
    with TcpProxy(services.REDIS_PORT) as proxy:
        app = app_by(proxy.port)
        result = fed_without_broker(app, proxy, own_urls, caplog)
        result.pause()
        app.close()
        until(lambda: not result.feeding.is_running)
        assert result.stopped_by == "close"
    assert indices_in(app, own_urls) == [0]


def test_a_slow_source_gives_nothing_after_another_process_paused_it(
    app_by, own_urls, monkeypatch
):
    monkeypatch.setattr(announcing, "_INTERVAL", 0.0)
    app, go = app_by(), threading.Event()
    result = group(members_of(app, go), app=app).apply_async(window=1000)
    until(lambda: indices_in(app, own_urls) == [0])
    other = app_by().attach(result.handle)
    other.pause()
    go.set()
    until(lambda: not result.feeding._open.is_set())
    assert indices_in(app, own_urls) == [0]
    other.resume_feeding()
    until(lambda: result.sealed)
    assert indices_in(app, own_urls) == list(range(400))
