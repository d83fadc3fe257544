"""TLS checks certificates and host names, unless it is told not to."""

from __future__ import annotations

import ssl
import traceback

import pytest

from celerant import Celerant
from celerant.errors import SettingError


def options(url, **settings):
    """Return kombu's `ssl` for a broker, also of a copy of the connection."""
    with Celerant("tls", broker=url, backend="memory://", **settings) as app:
        made, again = app.connection_for_write(), app.connection_for_read().clone()
        assert made.ssl == again.ssl
        return made.ssl


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("rediss://h", None),
        ("rediss://h?ssl_ca_certs=ca.pem", None),
        ("redis://h", True),
        ("redis://h", {"ssl_ca_certs": "ca.pem"}),
        ("sentinel://h", True),
    ],
)
def test_redis_is_checked_by_default(url, given):
    found = options(url, broker_use_ssl=given)
    assert found["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert found["ssl_check_hostname"] is True


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("rediss://h?ssl_cert_reqs=none", None),
        ("rediss://h", {"ssl_cert_reqs": ssl.CERT_NONE}),
        ("redis://h", {"ssl_cert_reqs": "none"}),
    ],
)
def test_redis_checks_nothing_if_told_so(url, given):
    found = options(url, broker_use_ssl=given)
    assert found["ssl_cert_reqs"] in {ssl.CERT_NONE, "none"}
    assert found["ssl_check_hostname"] is False


def test_names_alone_can_be_left_unchecked():
    found = options("rediss://h", broker_use_ssl={"ssl_check_hostname": False})
    assert found["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert found["ssl_check_hostname"] is False
    found = options("amqps://h", broker_use_ssl={"check_hostname": False})
    assert found == {"cert_reqs": ssl.CERT_REQUIRED}


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("amqps://h", None),
        ("amqps://h", True),
        ("amqp://h", True),
        ("amqps://h", {"ca_certs": "ca.pem", "cert_reqs": ssl.CERT_REQUIRED}),
    ],
)
def test_rabbitmq_is_checked_by_default(url, given):
    found = options(url, broker_use_ssl=given)
    assert found["cert_reqs"] == ssl.CERT_REQUIRED
    # kombu puts the host's name there as it connects.
    assert found["server_hostname"] is None


def test_rabbitmq_checks_nothing_if_told_so():
    given = {"cert_reqs": ssl.CERT_NONE}
    assert options("amqps://h", broker_use_ssl=given) == given


def test_a_name_of_the_user_s_own_stays():
    found = options("amqps://10.0.0.1", broker_use_ssl={"server_hostname": "mq.shop"})
    assert found["server_hostname"] == "mq.shop"


def test_a_context_is_checked_against_names_too():
    found = options("amqps://h", broker_use_ssl={"context": {"cafile": "ca.pem"}})
    assert found["context"] == {"check_hostname": True, "cafile": "ca.pem"}
    assert found["server_hostname"] is None


def test_each_host_of_a_failover_list_is_checked_by_its_own_name():
    with Celerant("tls", broker="amqps://a;amqps://b", backend="memory://") as app:
        connection = app.connection_for_write()
        connection.ssl["server_hostname"] = connection.hostname  # as kombu does
        connection.maybe_switch_next()
        connection.maybe_switch_next()
        assert connection.ssl["server_hostname"] is None
        assert connection.clone().ssl["server_hostname"] is None


@pytest.mark.parametrize("url", ["redis://h", "amqp://h", "memory://"])
def test_nothing_is_encrypted_that_was_not_asked_for(url):
    assert not options(url)


def test_celery_gets_the_same_checks():
    pytest.importorskip("celery")
    with Celerant("tls", broker="rediss://h/0") as app:
        conf = app.to_celery().conf
    assert conf.broker_use_ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert conf.redis_backend_use_ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    with Celerant("tls", broker="amqps://h") as app:
        conf = app.to_celery().conf
    assert conf.broker_use_ssl == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": None,
    }
    with Celerant("tls", broker="amqps://a;amqps://b") as app:
        conf = app.to_celery().conf
    # Celery's settings have one name for all hosts.
    assert conf.broker_use_ssl == {"cert_reqs": ssl.CERT_REQUIRED}


def test_to_celery_shows_no_password_of_a_store_whose_host_is_missing():
    pytest.importorskip("celery")
    app = Celerant("no-host", broker="memory://", backend="rediss://:hidden")
    with pytest.raises(SettingError, match="its port is no number") as caught:
        app.to_celery()
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
