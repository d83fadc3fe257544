"""The table of settings is true: of Celery, of this package, and of the documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import celery
import pytest
from celery.app import defaults
from celery.app.utils import Settings

import celerant
from celerant.config import SETTINGS, canonical
from celerant.config.broker_url import PARTS
from celerant.config.table import CELERY
from celerant.tasks.options import OPTIONS
from harness.settings_page import PAGE, page

OURS, THEIRS = Path(celerant.__file__).parent, Path(celery.__file__).parent
#: Celery looks for them where Celery's `conf` is asked, but they are no settings: parts
#: of the dictionaries that some backends are set by, and methods.
NO_SETTINGS = frozenset(
    """
    bucket collection database host http_protocol password port username verify name
    CELERY_RESULT_BACKEND changes extended setter bind_to swap_with _to_keys
    value_set_for
    """.split()
)


def trees(root: Path) -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(root.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def is_conf(node: ast.AST) -> bool:
    name = getattr(node, "id", None) or getattr(node, "attr", None)
    return name in {"conf", "_conf", "_get"}


def asked_by_celery() -> set[str]:
    """Return the names that Celery's modules ask of an app's settings."""
    found: set[str] = set()
    for path, tree in trees(THEIRS):
        if "contrib" in path.parts:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_conf(node.value):
                found.add(node.attr)
            elif isinstance(node, ast.Subscript) and is_conf(node.value):
                found.add(str(getattr(node.slice, "value", "")))
            elif isinstance(node, ast.Call) and node.args:
                first = getattr(node.args[0], "value", None)
                asks = is_conf(node.func) or (
                    isinstance(node.func, ast.Attribute) and is_conf(node.func.value)
                )
                if isinstance(first, str) and (
                    asks or getattr(node.func, "attr", "") == "either"
                ):
                    found.add(first)
    methods = {name for name in found if hasattr(Settings, name)}
    listed = {name for name, _ in defaults.flatten(defaults.NAMESPACES)}
    return found - {""} - NO_SETTINGS - (methods - listed)


def read_here() -> set[str]:
    """Return the settings whose names this package's modules ask for."""
    # Settings that are only handed over are read with the task's option for that.
    found = {
        option.setting
        for option in OPTIONS.values()
        if option.setting and option.treatment == "honoured"
    }
    for path, tree in trees(OURS):
        # The swap-in asks Celery's own apps.
        if path.parent.name in {"config", "celery"}:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_conf(node.value):
                found.add(node.attr)
    return found & SETTINGS.keys()


def test_the_table_has_every_setting_that_celery_lists():
    listed = {name for name, _ in defaults.flatten(defaults.NAMESPACES)}
    assert listed - SETTINGS.keys() == set()


def test_the_table_has_every_setting_that_celery_asks_for():
    assert asked_by_celery() - SETTINGS.keys() == set()


def test_the_table_has_no_setting_of_its_own_that_does_not_say_so():
    known = {name for name, _ in defaults.flatten(defaults.NAMESPACES)}
    known |= asked_by_celery()
    own = {name for name, setting in SETTINGS.items() if setting.is_own}
    assert SETTINGS.keys() - known == own


@pytest.mark.parametrize(
    ("name", "option"), sorted(defaults.flatten(defaults.NAMESPACES))
)
def test_the_default_is_celerys(name, option):
    ours, theirs = SETTINGS[name].default, option.default
    if name.endswith("log_format"):
        theirs = re.sub(r"\\\n\s*", "", theirs)
    assert ours == theirs


def test_the_old_names_are_celerys():
    for old, new in defaults._TO_NEW_KEY.items():
        assert canonical(old) == new


def test_settings_that_celery_alone_reads_are_read_by_nothing_here():
    only = {name for name, one in SETTINGS.items() if one.reader == CELERY}
    assert only & read_here() == set()


def test_settings_with_a_reader_here_are_read_here():
    said = {name for name, one in SETTINGS.items() if one.reader != CELERY}
    # `config` itself makes a URL of the parts, and allows one protocol alone.
    by_config = {*PARTS, "task_protocol"}
    assert said - by_config - read_here() == set()


def test_the_page_of_settings_is_made_of_the_table():
    assert PAGE.read_text() == page(), "run python tests/harness/settings_page.py"
