"""Impossible names and values of settings are refused at once."""

from __future__ import annotations

import pytest

from celerant import Celerant
from celerant.errors import SettingError


@pytest.mark.parametrize(
    ("url", "nearest"),
    [
        ("redsi://u:hidden@h", "redis"),
        ("amqpp://h", "amqp"),
        ("memry://", "memory"),
        ("redis://a;redsi://b", "redis"),
        (["amqp://a", "amq://b"], "amqp"),
        ("sqle+sqlite:///x.db", "sqla"),
        ("qwxz://h", None),
    ],
)
def test_a_transport_that_kombu_does_not_have(url, nearest):
    with pytest.raises(SettingError, match="kombu has no transport") as caught:
        Celerant("celerant-test-settings", broker=url)
    error = caught.value
    assert (error.name, error.nearest) == ("broker_url", nearest)
    assert "hidden" not in str(error)
    assert nearest is None or f"{nearest}://" in str(error)


@pytest.mark.parametrize("name", ["broker_url", "broker_read_url", "broker_write_url"])
def test_every_setting_of_a_broker_is_looked_at(app, name):
    with pytest.raises(SettingError, match="redis://") as caught:
        app.conf.update({name: "redsi://h"})
    assert caught.value.name == name
    with pytest.raises(SettingError, match="list of URLs, not int"):
        app.conf.update({name: 5})


@pytest.mark.parametrize(
    "url",
    [
        "REDIS://h",
        "redis+socket:///tmp/s",
        "sqla+sqlite:///x.db",
        "SQS://",
        "amqps://h",
        "h",
        ("amqp://a", "amqp://b"),
    ],
)
def test_urls_that_kombu_takes_are_accepted(app, url):
    app.conf.broker_url = url
    assert app.conf.broker_url == url


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("brokr", "broker"),
        ("backnd", "backend"),
        ("task_defalt_queue", "task_default_queue"),
    ],
)
def test_an_argument_of_the_app_that_does_not_exist(wrong, nearest):
    with pytest.raises(SettingError, match=f"did you mean '{nearest}'") as caught:
        Celerant("celerant-test-settings", **{wrong: "memory://"})
    assert (caught.value.name, caught.value.nearest) == (wrong, nearest)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("nme", "name"), ("bnd", "bind"), ("quue", "queue")]
)
def test_an_option_of_a_task_that_does_not_exist(app, wrong, nearest):
    with pytest.raises(SettingError, match=f"did you mean '{nearest}'") as caught:
        app.task(**{wrong: "x"})(print)
    assert (caught.value.name, caught.value.nearest) == (wrong, nearest)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h/1", "redis://h:6379/1"),
        ("redis://:hidden@h/1", "redis://:**@h:6379/1"),
        ("amqp://u@h/v", "amqp://u@h:5672/v"),
        ("amqp://u:hidden@h/v", "amqp://u:**@h:5672/v"),
    ],
)
def test_a_mask_replaces_passwords_only(url, shown):
    with Celerant("celerant-test-settings", broker=url) as app:
        connection = app.connection_for_write()
        assert connection.as_uri() == shown
        assert "hidden" not in repr(connection)


@pytest.mark.parametrize("wrong", [0, -1, None, "x", True, float("inf"), float("nan")])
def test_a_stall_timeout_is_a_number_of_seconds(app, wrong):
    with pytest.raises(SettingError, match="celerant_stall_timeout must be") as caught:
        app.conf.celerant_stall_timeout = wrong
    assert caught.value.name == "celerant_stall_timeout"


@pytest.mark.parametrize(
    ("given", "limit"),
    [({}, 9.0), ({"socket_timeout": 4}, 4), ({"socket_timeout": 40}, 9.0)],
)
def test_the_shorter_limit_holds_for_each_connection_to_redis(given, limit):
    app = Celerant(
        "stalls",
        broker="redis://127.0.0.1:1/0",
        celerant_stall_timeout=9.0,
        broker_transport_options=given,
    )
    connection = app.connection_for_write().clone()
    with pytest.raises(connection.connection_errors):
        connection.connect()
    assert connection.transport_options["socket_timeout"] == limit
    assert app.conf.broker_transport_options == given


@pytest.mark.parametrize(
    ("stall", "heartbeat", "asked"),
    [(30, 120, 15), (1, 120, 1), (30, 0, 0), (90, 5, 5)],
)
def test_heartbeats_find_a_silent_broker_in_time(stall, heartbeat, asked):
    app = Celerant(
        "stalls",
        broker="amqp://",
        celerant_stall_timeout=stall,
        broker_heartbeat=heartbeat,
    )
    assert app.connection_for_read().heartbeat == asked


def test_a_deleted_setting_has_its_default_again(app):
    before = app.conf.task_serializer
    app.conf.task_serializer = "pickle"
    del app.conf.task_serializer
    assert app.conf.task_serializer == before
    app.conf["task_serializer"] = "pickle"
    del app.conf["task_serializer"]
    assert app.conf.task_serializer == before
