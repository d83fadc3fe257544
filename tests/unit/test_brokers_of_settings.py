"""Which broker, store and default queue an app has, however it is told."""

from __future__ import annotations

import sys

import pytest

from celerant import Celerant, SettingError
from celerant.dispatch.routing import Queues

NAME = "celerant-test-told"


def parts(**given):
    return {f"broker_{name}": value for name, value in given.items()}


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "memory://"),
        (parts(transport="redis"), "redis://"),
        (parts(host="h"), "amqp://h"),
        (parts(host="h", port=5, user="u", password="p/@", vhost="/v"),
         "amqp://u:p%2F%40@h:5/%2Fv"),
        (parts(host="redis://h/1"), "redis://h/1"),
        (parts(url="redis://h", port="7", vhost="3"), "redis://h:7/3"),
        (parts(url="redis://h:1/2", port="7", vhost="3"), "redis://h:1/2"),
        (parts(url="amqp://u@h//", user="x", password="p"), "amqp://u:p@h//"),
        (parts(url="amqp://a//;amqp://b//", user="u"), "amqp://u@a//;amqp://u@b//"),
        (parts(url=["amqp://a//"], user="u"), ["amqp://u@a//"]),
        (parts(url="sqla+sqlite:///x", user="u"), "sqla+sqlite:///x"),
        (parts(write_url="redis://w", read_url="redis://r"), "redis://w"),
    ],
)  # fmt: skip
def test_a_broker_is_a_url_made_of_its_parts(settings, url):
    app = Celerant(NAME, **settings)
    assert app.conf.broker_url == url


def test_ends_of_a_broker_are_by_default_the_broker(app):
    app.conf.broker_url = "redis://h"
    assert app.conf.broker_read_url == app.conf.broker_write_url == "redis://h"
    app.conf.broker_write_url = "redis://w"
    assert app.conf.broker_read_url == "redis://h"


def test_the_environment_comes_first_as_in_celery(monkeypatch):
    app = Celerant(NAME, broker="redis://h/1", backend="redis://h/2")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://e/1")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://e/2")
    monkeypatch.setenv("CELERY_BROKER_READ_URL", "redis://e/3")
    made = app.to_celery()
    for conf in (app.conf, made.conf, Celerant(NAME).conf):
        assert conf.broker_url == conf.broker_write_url == "redis://e/1"
        assert conf.result_backend == "redis://e/2"
        assert conf.broker_read_url == "redis://e/3"
    monkeypatch.setenv("CELERY_BROKER_URL", "redsi://e/1")
    with pytest.raises(SettingError, match=r"CELERY_BROKER_URL.*redis://"):
        app.connection_for_write()


def test_the_module_that_the_environment_names_is_read(tmp_path, monkeypatch):
    (tmp_path / "celerant_test_conf.py").write_text(
        "BROKER_URL = 'redis://m'\nCELERY_TASK_SERIALIZER = 'pickle'\n"
        "TIME_ZONE = 'Europe/Paris'\n"
    )
    # As Celery does, also if the folder is not on the path.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "celerant_test_conf")
    try:
        app = Celerant(NAME)
        assert app.conf.broker_url == "redis://m"
        assert app.conf.timezone == "Europe/Paris"
        assert Celerant(NAME, broker="redis://h").conf.broker_url == "redis://h"
        made = app.to_celery()
        assert made.conf.broker_url == "redis://m"
        assert made.conf.task_serializer == "pickle"
        app.config_from_object({"result_expires": 5})
        assert app.conf.task_serializer == "json"
        assert app.to_celery().conf.task_serializer == "json"
    finally:
        sys.modules.pop("celerant_test_conf", None)


def told_later(app, **settings):
    app.conf.update(settings)
    return app


@pytest.mark.parametrize(
    "make",
    [
        lambda url: Celerant(NAME, broker=url),
        lambda url: Celerant(NAME, broker_url=url),
        lambda url: told_later(Celerant(NAME), broker_url=url),
        lambda url: told_later(Celerant(NAME), broker_write_url=url),
    ],
    ids=["argument", "setting", "later", "one end"],
)
def test_the_default_queue_is_celerys_on_a_broker(make):
    app = make("redis://h")
    assert app.conf.task_default_queue == Queues(app.conf).default == "celery"
    assert app.to_celery().conf.task_default_queue == "celery"


def test_the_default_queue_is_the_apps_name_in_memory():
    app = Celerant(NAME)
    assert app.queues.default == app.to_celery().conf.task_default_queue == NAME
    app.conf.broker_url = "redis://h"
    assert app.queues.default == "celery"
    app.conf.task_default_queue = "own"
    assert app.queues.default == app.to_celery().conf.task_default_queue == "own"
    assert app.conf.task_default_exchange == app.conf.task_default_routing_key == "own"


def test_settings_changed_in_place_are_handed_over():
    app = Celerant(NAME, broker="redis://h", celerant_stall_timeout=5)
    app.conf.beat_schedule["x"] = {"task": "t", "schedule": 5}
    app.conf.worker_direct = "yes"
    app.conf.override_backends = {"own": "x:Y"}
    made = app.to_celery()
    assert made.conf.beat_schedule == {"x": {"task": "t", "schedule": 5}}
    assert made.conf.worker_direct is True
    assert made.conf.broker_url  # read: now the loader knows
    assert made.loader.override_backends == {"own": "x:Y"}
    assert "celerant_stall_timeout" not in made.conf


def test_settings_of_parts_fill_in_the_url_of_a_store():
    app = Celerant(
        NAME,
        backend="redis",
        redis_host="h",
        redis_port="7",
        redis_db="2",
        redis_username="u",
        redis_password="p",
        redis_client_name="me",
        redis_backend_health_check_interval=30,
    )

    def of(backend):
        app.close()
        app.conf.result_backend = backend
        params = app.backend._pool.connection_kwargs
        return [params.get(k) for k in ("host", "port", "db", "username", "password")]

    assert of("redis") == ["h", 7, 2, "u", "p"]
    # As in Celery, a URL without a database means the first.
    assert of("redis://") == ["h", 7, 0, "u", "p"]
    assert of("redis://:x@o:1/5") == ["o", 1, 5, "u", "x"]
    params = app.backend._pool.connection_kwargs
    assert (params["client_name"], params["health_check_interval"]) == ("me", 30)


def test_a_credential_provider_may_be_named_and_must_be_one():
    path = "redis.credentials:UsernamePasswordCredentialProvider"
    app = Celerant(
        NAME, backend="redis://u:p@h", redis_backend_credential_provider=path
    )
    params = app.backend._pool.connection_kwargs
    assert type(params["credential_provider"]).__name__ == path.partition(":")[2]
    assert "password" not in params
    wrong = Celerant(NAME, backend="redis://h", redis_backend_credential_provider=5)
    with pytest.raises(SettingError, match=r"must be a redis\.CredentialProvider"):
        _ = wrong.backend


def test_a_backend_that_celery_puts_another_class_for_is_refused():
    app = Celerant(NAME, backend="redis://h", override_backends={"redis": "x:Y"})
    with pytest.raises(SettingError, match="override_backends"):
        _ = app.backend


def test_old_names_count_without_a_namespace_and_in_celerys(app):
    source = {
        "CELERYD_CONCURRENCY": 3,
        "CELERY_ALWAYS_EAGER": True,
        "CELERY_TASK_ALWAYS_EAGER": False,
        "BROKER_URL": "redis://h",
        "CELERY_DB_REUSE_MAX": 5,
        "DEBUG": True,
    }
    app.config_from_object(source, namespace="CELERY")
    assert app.conf.worker_concurrency == 3
    assert app.conf.task_always_eager is False
    assert app.conf.broker_url == "redis://h"
    assert app.to_celery().conf.get("CELERY_DB_REUSE_MAX") == 5
    # Another namespace is its own: a project may have both.
    app.config_from_object({**source, "OWN_RESULT_EXPIRES": 5}, namespace="OWN")
    assert app.conf.changed() == {"result_expires": 5}
    with pytest.raises(SettingError, match="DEBUG"):
        app.config_from_object({"DEBUG": True})


def test_djangos_time_zone_is_the_time_zone(app):
    source = {"TIME_ZONE": "Asia/Tokyo", "USE_TZ": True}
    app.config_from_object(source, namespace="CELERANT")
    assert app.conf.timezone == "Asia/Tokyo"
    source["CELERANT_TIMEZONE"] = "UTC"
    app.config_from_object(source, namespace="CELERANT")
    assert app.conf.timezone == "UTC"
