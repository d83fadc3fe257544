"""The timeout that a program gives all its new sockets is its own."""

from __future__ import annotations

import socket
import sys
import textwrap
import uuid

import pytest

from celerant import group

pytestmark = pytest.mark.timeout(120)

NAP = """
import socket
import time
from celerant import Celerant

# Imported by the children too.
socket.setdefaulttimeout(0.05)
app = Celerant({name!r})

@app.task
def nap(seconds):
    time.sleep(seconds)
    return seconds
"""


@pytest.mark.parametrize("broker", ["memory", "redis", "rabbitmq"])
def test_closing_connections_does_not_touch_it(make_app, broker, monkeypatch):
    app = make_app("redis" if broker == "memory" else broker)
    if broker == "memory":
        app.conf.broker_url = "memory://"
    told = []
    monkeypatch.setattr(socket, "setdefaulttimeout", told.append)

    @app.task(ignore_result=True)
    def nothing(x):
        return x

    group([nothing.s(n) for n in range(3)]).apply_async()
    with app.worker(concurrency=1):
        nothing.delay(1)
    app.close()
    assert told == []


@pytest.fixture
def napping(tmp_path, monkeypatch):
    """A module with a task, in a process whose new sockets have a short timeout."""
    name = f"napping_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(NAP.format(name=name)))
    monkeypatch.syspath_prepend(str(tmp_path))
    before = socket.getdefaulttimeout()
    try:
        module = __import__(name)
        yield module
        module.app.close()
    finally:
        socket.setdefaulttimeout(before)
        sys.modules.pop(name, None)


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_tasks_may_take_longer_than_it(napping, pool):
    with napping.app.worker(concurrency=1, pool=pool):
        result = group(napping.nap.s(n) for n in (0.3, 0.01, 0.2)).apply_async()
        assert result.get(timeout=60) == [0.3, 0.01, 0.2]
        # Idle for longer, too.
        assert napping.nap.apply_async((0,), countdown=0.3).get(timeout=60) == 0
