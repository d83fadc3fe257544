from __future__ import annotations

import pytest

from celerant.config import Settings
from celerant.config.default_backend import backend_reach, backend_url

OPTIONS = "result_backend_transport_options"


def settings(broker, **more):
    conf = Settings()
    conf.update(broker_url=broker, **more)
    return conf


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("memory://", "memory://"),
        ("redis://:pw@h/3", "redis://:pw@h/3"),
        ("rediss://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=none"),
        ("redis+socket:///s", "redis+socket:///s"),
        ("sentinel://a/1;sentinel://b/1", "sentinel://a/1;sentinel://b/1"),
        (["sentinel://a/1", "sentinel://b/1"], "sentinel://a/1;sentinel://b/1"),
        ("amqp://a//;amqp://b//", "rpc://"),
        ("amqps://a//", "rpc://"),
        (["redis://a"], "redis://a"),
        # Two stores: a result may be written to one and read from the other.
        ("redis://a;redis://b", None),
        ("sqs://", None),
        (None, "memory://"),
    ],
)
def test_results_go_to_the_broker_by_default(broker, expected):
    assert backend_url(settings(broker)) == expected


def test_a_backend_that_is_set_stays():
    conf = settings("redis://a;redis://b", result_backend="redis://c/1")
    assert backend_url(conf) == "redis://c/1"


def test_a_default_backend_is_reached_as_its_broker():
    conf = settings(
        "sentinel://a",
        broker_use_ssl={"ssl_cert_reqs": "required"},
        broker_transport_options={"master_name": "m", "global_keyprefix": "x"},
    )
    assert backend_reach(conf) == {
        # A key prefix is no way to a server: results have their own.
        OPTIONS: {"master_name": "m"},
        "redis_backend_use_ssl": {"ssl_cert_reqs": "required"},
    }


def test_settings_of_results_come_before_those_of_the_broker():
    conf = settings(
        "sentinel://a",
        broker_use_ssl={"ssl_cert_reqs": "required"},
        redis_backend_use_ssl={"ssl_cert_reqs": "none"},
        broker_transport_options={"master_name": "m", "min_other_sentinels": 1},
        result_backend_transport_options={"master_name": "n"},
    )
    assert backend_reach(conf) == {
        OPTIONS: {"master_name": "n", "min_other_sentinels": 1},
        "redis_backend_use_ssl": {"ssl_cert_reqs": "none"},
    }


@pytest.mark.parametrize(
    ("broker", "backend"), [("sentinel://a", "redis://b"), ("amqps://a//", None)]
)
def test_another_server_is_not_reached_as_the_broker(broker, backend):
    conf = settings(
        broker,
        result_backend=backend,
        broker_use_ssl={"ca_certs": "file"},
        broker_transport_options={"master_name": "m"},
    )
    assert backend_reach(conf) == {OPTIONS: {}, "redis_backend_use_ssl": None}
