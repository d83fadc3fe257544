from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from celery import Celery

from celerant import SettingError


@pytest.fixture
def settings_module(tmp_path, monkeypatch):
    """Return the name of a module with settings."""
    folder = tmp_path / "shop_site"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "conf.py").write_text(
        "import os\n"
        "from types import SimpleNamespace\n"
        "task_default_queue = 'orders'\n"
        "helper = 5\n"
        "class Inner:\n"
        "    result_expires = 7\n"
        "inner = SimpleNamespace(task_acks_late=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "shop_site.conf"
    for name in ("shop_site", "shop_site.conf"):
        sys.modules.pop(name, None)


def test_a_module_by_name(app, settings_module):
    app.config_from_object(settings_module)
    assert app.conf.task_default_queue == "orders"


@pytest.mark.parametrize(
    ("attribute", "setting", "value"),
    [("Inner", "result_expires", 7), ("inner", "task_acks_late", True)],
)
def test_an_object_in_a_module_by_name(app, settings_module, attribute, setting, value):
    app.config_from_object(f"{settings_module}:{attribute}")
    assert app.conf[setting] == value
    assert app.conf.task_default_queue != "orders"


def test_config_from_object_takes_a_mapping_and_an_object(app):
    app.config_from_object({"result_expires": 3})
    assert app.conf.result_expires == 3
    app.config_from_object(SimpleNamespace(result_expires=4))
    assert app.conf.result_expires == 4


def test_a_namespace_takes_capitals_that_begin_with_it(app):
    source = SimpleNamespace(
        CELERY_RESULT_EXPIRES=5,
        CELERY_TASK_ROUTES={"a": "b"},
        CELERANT_RESULT_EXPIRES=6,
        celery_result_expires=7,
        result_expires=8,
        DEBUG=True,
    )
    app.config_from_object(source, namespace="CELERY")
    assert app.conf.changed()["result_expires"] == 5
    assert app.conf.task_routes == {"a": "b"}
    app.config_from_object(source, namespace="celerant_")
    assert app.conf.result_expires == 6


def test_a_wrong_name_is_told_as_it_stands_there(app):
    before = app.conf.changed()
    with pytest.raises(SettingError) as caught:
        app.config_from_object(
            {"CELERY_RESULT_EXPIRES": 5, "CELERY_BROKER_ULR": "x"}, namespace="CELERY"
        )
    assert caught.value.name == "CELERY_BROKER_ULR"
    assert caught.value.nearest == "CELERY_BROKER_URL"
    assert app.conf.changed() == before


def test_a_wrong_name_in_a_mapping_is_refused(app):
    with pytest.raises(SettingError, match="'broker_url'"):
        app.config_from_object({"broker_ulr": "x"})


def test_a_missing_source_is_named(app, settings_module):
    with pytest.raises(SettingError, match=r"'shop_site.conf' has no 'none'"):
        app.config_from_object(f"{settings_module}:none")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        app.config_from_object("nowhere.at_all")


@pytest.mark.parametrize("namespace", ["celery", "CELERY"])
@pytest.mark.parametrize(
    "name", ["celery_task_serializer", "CELERY_TASK_SERIALIZER", "task_serializer"]
)
def test_a_namespace_reads_the_names_that_celery_reads(app, namespace, name):
    stock = Celery("stock", set_as_current=False)
    for side in (stock, app):
        side.config_from_object({name: "pickle"}, namespace=namespace)
    read = stock.conf.task_serializer
    assert app.conf.task_serializer == ("pickle" if read == "pickle" else "json")
    # In capitals it is clear in any case what is meant.
    assert read == "pickle" or (name, namespace) in {
        ("celery_task_serializer", "CELERY"),
        ("CELERY_TASK_SERIALIZER", "celery"),
    }


def test_names_in_a_namespace_come_before_others(app):
    app.config_from_object(
        {"task_serializer": "yaml", "celery_task_serializer": "pickle"},
        namespace="celery",
    )
    assert app.conf.task_serializer == "pickle"


def test_a_missing_module_is_no_error_if_so_wished(app, monkeypatch):
    app.config_from_object("no_such_module_of_settings", silent=True)
    monkeypatch.setenv("OUR_SETTINGS", "no_such_module_of_settings")
    assert app.config_from_envvar("OUR_SETTINGS", silent=True)
    with pytest.raises(ModuleNotFoundError):
        app.config_from_object("no_such_module_of_settings")
