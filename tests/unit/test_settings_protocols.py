"""Settings are mappings and objects as Python's are."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping

import pytest

from celerant import Celerant, current_app
from celerant.config import SETTINGS, Settings
from celerant.errors import SettingError


def test_an_unknown_name_is_missing_as_in_any_object_or_mapping(app):
    conf = app.conf
    assert not hasattr(conf, "my_setting")
    assert getattr(conf, "my_setting", 3) == 3
    assert conf.get("my_setting", 5) == 5
    assert "my_setting" not in conf
    assert 5 not in conf
    for look in (lambda: conf.my_setting, lambda: conf["my_setting"]):
        for kind in (AttributeError, KeyError, SettingError):
            with pytest.raises(kind, match="unknown setting 'my_setting'"):
                look()
    with pytest.raises(SettingError, match="task_serializer"):
        conf.task_serialiser = "json"


def test_settings_are_a_mapping(app):
    conf = app.conf
    assert isinstance(conf, Mapping)
    assert dict(conf)["task_serializer"] == "json"
    assert dict(conf.items()) == dict(conf) == {**conf}
    assert len(conf) == len([*conf]) == len(SETTINGS)
    assert conf.get("timezone", "x") is None  # it has a value: None
    assert set(conf) <= set(dir(conf))


def test_settings_are_copied_and_pickled_with_all_that_was_set():
    conf = Celerant("celerant-test-copied", broker="redis://u:hidden@h").conf
    conf.configure({"result_expires": 5})
    conf.beat_schedule["x"] = {"task": "t"}
    for made in (
        conf.copy(),
        copy.copy(conf),
        copy.deepcopy(conf),
        pickle.loads(pickle.dumps(conf)),
    ):
        assert made == conf
        assert made.changed() == conf.changed()
        made.task_serializer = "pickle"
        assert conf.task_serializer == "json"
        del made.task_serializer
        made.configure({})
        assert conf.result_expires == 5
        assert made.broker_url == "redis://u:hidden@h"


def test_vars_and_repr_show_no_password():
    given = {
        "broker_url": "redis://u:hidden@h",
        "broker_write_url": "redis://u:hidden@h",
        "result_backend": "redis://u:hidden@h",
        "broker_password": "hidden",
        "redis_password": "hidden",
        "broker_transport_options": {"sentinel_kwargs": {"password": "hidden"}},
        "broker_use_ssl": {"password": "hidden"},
        "s3_secret_access_key": "hidden",
        "security_key_password": "hidden",
        "mongodb_backend_settings": {"password": "hidden"},
    }
    conf = Settings()
    conf.update(given)
    conf.configure(given)
    assert "hidden" not in f"{vars(conf)} {conf!r} {conf}"
    with pytest.raises(SettingError) as caught:
        conf.redis_password = ["hidden"]
    assert "hidden" not in str(caught.value)


def test_a_default_that_is_changed_in_place_stays_with_its_app(app):
    app.conf.broker_transport_options["visibility_timeout"] = 5
    app.conf.task_publish_retry_policy["max_retries"] = 1
    changed = app.conf.changed()
    assert changed["broker_transport_options"] == {"visibility_timeout": 5}
    assert changed["task_publish_retry_policy"]["max_retries"] == 1
    other = Settings()
    assert other.changed() == {}
    assert other.broker_transport_options == {}


def test_set_values_come_before_those_of_an_object():
    app = Celerant("celerant-test-layers", task_serializer="pickle")
    app.config_from_object({"task_serializer": "yaml", "result_expires": 5})
    assert app.conf.task_serializer == "pickle"
    assert app.conf.result_expires == 5
    # As in Celery, the second object takes the place of the first.
    app.config_from_object({"result_extended": True})
    assert "result_expires" not in app.conf.changed()
    assert app.conf.result_extended is True
    app.conf.clear()
    assert app.conf.task_serializer == "json"
    assert app.conf.result_extended is True


@pytest.mark.parametrize(
    ("old", "name", "value"),
    [
        ("CELERY_TASK_SERIALIZER", "task_serializer", "pickle"),
        ("BROKER_URL", "broker_url", "redis://h"),
        ("CELERYD_CONCURRENCY", "worker_concurrency", 3),
        ("CELERY_ALWAYS_EAGER", "task_always_eager", True),
        ("CELERYBEAT_SCHEDULE", "beat_schedule", {"x": {"task": "t"}}),
    ],
)
def test_celerys_old_names_mean_the_new_ones(app, old, name, value):
    app.conf[old] = value
    assert app.conf[name] == app.conf[old] == getattr(app.conf, old) == value
    assert old in app.conf
    setattr(app.conf, old, SETTINGS[name].default)
    assert name in app.conf.changed()
    app.config_from_object({old: value})
    del app.conf[old]
    assert app.conf[name] == value


def test_nothing_is_set_if_one_of_several_values_is_wrong(app):
    before = app.conf.changed()
    with pytest.raises(SettingError):
        app.conf.update(task_serializer="pickle", task_compresion="gzip")
    with pytest.raises(SettingError):
        app.conf.update({"task_serializer": "pickle"}, result_expires="x")
    assert app.conf.changed() == before


def test_a_listener_hears_of_changes(app):
    heard = []
    app.conf.on_change(lambda names: heard.append(sorted(names)))
    app.conf.task_serializer = "pickle"
    app.conf.update(result_expires=5, result_extended=True)
    app.config_from_object({"timezone": "UTC"})
    app.config_from_object({"imports": "x"})
    assert heard == [
        ["task_serializer"],
        ["result_expires", "result_extended"],
        ["timezone"],
        ["imports", "timezone"],
    ]


def test_settings_that_celery_alone_reads_have_celerys_defaults(app):
    assert app.conf.worker_pool == "prefork"
    assert app.conf.result_backend_max_retries == float("inf")
    assert app.conf["control_queue_exclusive"] is True


def test_setdefault_sets_a_name_that_nobody_has_set(app):
    assert app.conf.setdefault("task_default_priority", 5) == 5
    assert app.conf.setdefault("task_default_priority", 6) == 5
    assert app.conf.task_default_priority == 5
    app.conf.task_serializer = "pickle"
    assert app.conf.setdefault("CELERY_TASK_SERIALIZER", "yaml") == "pickle"
    with pytest.raises(SettingError, match="nothing_like_it"):
        app.conf.setdefault("nothing_like_it", 1)


def test_app_reads_the_source_and_the_namespace_that_it_is_given():
    with Celerant("source", config_source={"task_default_queue": "q"}) as app:
        assert app.conf.task_default_queue == "q"
    with Celerant("space", namespace="CELERY") as app:
        app.config_from_object({"CELERY_TASK_DEFAULT_QUEUE": "q", "DEBUG": True})
        assert app.conf.task_default_queue == "q"


def test_app_may_leave_the_current_app_as_it_is(app):
    with Celerant("aside", set_as_current=False):
        assert current_app.main == app.main
