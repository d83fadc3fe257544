"""Possible values of settings, and their normal forms."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kombu import Queue

from celerant.config import SETTINGS
from celerant.errors import SettingError

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("task_always_eager", "no", False),
        ("task_always_eager", "OFF", False),
        ("task_always_eager", "0", False),
        ("task_always_eager", " True ", True),
        ("task_always_eager", "yes", True),
        ("task_always_eager", 1, True),
        ("task_always_eager", None, None),
        ("worker_direct", "false", False),
        ("broker_use_ssl", "no", False),
        ("broker_use_ssl", {"ca_certs": "x"}, {"ca_certs": "x"}),
        ("broker_pool_limit", "5", 5),
        ("broker_pool_limit", None, None),
        ("broker_connection_timeout", "1.5", 1.5),
        ("broker_connection_timeout", timedelta(minutes=1), 60.0),
        ("task_time_limit", 5, 5),
        ("worker_prefetch_multiplier", "0", 0),
        ("worker_concurrency", "auto", None),
        ("worker_concurrency", "4", 4),
        ("result_expires", DAY, DAY),
        ("result_expires", "3600", 3600),
        ("result_expires", 0, 0),
        ("result_expires", None, None),
        ("imports", "shop.tasks", ("shop.tasks",)),
        ("include", ["a", "b"], ("a", "b")),
        ("accept_content", "json", ("json",)),
        ("task_default_delivery_mode", "2", 2),
        ("task_default_delivery_mode", "transient", "transient"),
        ("timezone", "Europe/Paris", "Europe/Paris"),
        ("task_protocol", "2", 2),
        ("beat_sync_every", "3", 3),
    ],
)
def test_a_value_is_kept_as_its_meaning(app, name, given, kept):
    app.conf[name] = given
    assert app.conf[name] == kept
    assert type(app.conf[name]) is type(kept)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task_always_eager", "maybe"),
        ("task_always_eager", ""),
        ("task_always_eager", 2),
        ("task_always_eager", []),
        ("worker_direct", "nope"),
        ("broker_pool_limit", -1),
        ("broker_pool_limit", True),
        ("broker_pool_limit", "many"),
        ("broker_pool_limit", 1.5),
        ("broker_connection_timeout", -1),
        ("task_time_limit", float("inf")),
        ("task_time_limit", float("nan")),
        ("task_soft_time_limit", "inf"),
        ("worker_concurrency", 0),
        ("worker_concurrency", "some"),
        ("result_expires", "x"),
        ("result_expires", -5),
        ("result_expires", 0.5),
        ("result_expires", timedelta(milliseconds=5)),
        ("result_chord_expires", "x"),
        ("imports", 5),
        ("imports", [5]),
        ("task_queues", 5),
        ("task_queues", [5]),
        ("task_queues", {"a": 5}),
        ("task_default_queue", ""),
        ("task_default_queue", None),
        ("task_default_queue", 5),
        ("task_default_queue_type", "qorum"),
        ("task_default_delivery_mode", 3),
        ("task_protocol", 1),
        ("timezone", "Mars/X"),
        ("timezone", 5),
        ("timezone", "../../etc/passwd"),
        ("task_serializer", None),
        ("task_publish_retry_policy", {"max_retrys": 3}),
        ("task_publish_retry_policy", {"max_retries": "x"}),
        ("broker_transport_options", "x"),
        ("broker_transport", "redsi"),
        ("broker_port", "x"),
        ("redis_port", 0),
    ],
)
def test_an_impossible_value_is_refused_when_it_is_set(app, name, given):
    before = app.conf[name]
    with pytest.raises(SettingError, match=name) as caught:
        app.conf[name] = given
    assert caught.value.name == name
    with pytest.raises(SettingError, match=name):
        app.config_from_object({name: given})
    assert app.conf[name] == before


def test_one_queue_is_a_list_of_one(app):
    queue = Queue("celerant-test-one")
    app.conf.task_queues = queue
    assert app.conf.task_queues == (queue,)


@pytest.mark.parametrize("given", ["first, second", ["first", "second"]])
def test_names_of_queues_are_the_queues_of_these_names(app, given):
    app.conf.task_queues = given
    found = [(q.name, q.exchange.name, q.routing_key) for q in app.conf.task_queues]
    assert found == [(name, name, name) for name in ("first", "second")]
    assert app.queues.declared == ("first", "second")


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_default_may_be_set(app, name):
    setting = SETTINGS[name]
    app.conf[name] = setting.default
    if not hasattr(type(app.conf), f"_{name}"):
        assert app.conf[name] == setting.default
