from __future__ import annotations

import json

import pytest

from celerant import Celerant
from celerant.errors import SettingError
from celerant.results.backends import inbox as module
from celerant.results.backends import open_backend
from celerant.results.backends.inbox import Inbox


def record(status, value=None):
    return json.dumps({"status": status, "result": value}).encode()


def test_a_kept_record_is_taken_once_and_readable_for_a_while(monkeypatch):
    monkeypatch.setattr(module, "_TAKEN_MOST", 2)
    inbox = Inbox(60)
    for name in "abc":
        inbox.keep(name, record("SUCCESS", name))
    assert inbox.read("a") == inbox.take("a") == inbox.take("a")
    inbox.take("b")
    inbox.take("c")
    assert inbox.read("a") is None
    assert inbox.read("c") == record("SUCCESS", "c")
    assert not inbox._kept


def test_a_done_record_is_not_replaced():
    inbox = Inbox(0)
    inbox.keep("a", record("STARTED"))
    inbox.keep("a", record("SUCCESS", 1))
    inbox.keep("a", record("STARTED"))
    inbox.keep("a", record("FAILURE"))
    assert inbox.take("a") == record("SUCCESS", 1)


def test_records_that_nobody_asks_for_expire(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    inbox = Inbox(10)
    inbox.keep("old", record("SUCCESS"))
    now[0] = 11
    for index in range(module._PURGE_EVERY):
        inbox.keep(str(index), record("SUCCESS"))
    assert inbox.read("old") is None
    assert inbox.read("0") is not None
    forever = Inbox(0)
    forever.keep("a", record("SUCCESS"))
    now[0] = 1e12
    for index in range(module._PURGE_EVERY):
        forever.keep(str(index), record("SUCCESS"))
    assert forever.read("a") is not None


def test_rpc_needs_a_broker_that_speaks_amqp():
    with pytest.raises(SettingError, match=r"needs a broker that is reached by AMQP"):
        _ = Celerant("x", backend="rpc://").backend
    with pytest.raises(SettingError, match=r"use redis://, .*rpc:// or memory"):
        open_backend("mongodb://localhost", name="x")


@pytest.mark.parametrize(
    ("broker", "uri"),
    [
        ("amqp://guest@127.0.0.1//", "rpc://"),
        ("amqps://guest@127.0.0.1//;amqps://guest@127.0.0.2//", "rpc://"),
        ("pyamqp://guest@127.0.0.1//", "rpc://"),
        ("sqs://", "disabled://"),
        ("memory://", "memory://"),
    ],
)
def test_results_go_to_the_broker_by_default(broker, uri):
    with Celerant("x", broker=broker) as app:
        assert app.backend.as_uri() == uri
