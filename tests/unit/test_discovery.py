from __future__ import annotations

import sys
import weakref

import pytest

from celerant import CelerantError
from celerant.context import apps

TASK = "from celerant import shared_task\n@shared_task\ndef run():\n    return 1\n"


@pytest.fixture(autouse=True)
def packages(tmp_path, monkeypatch):
    """Packages on the path: one with tasks, one without, one whose tasks are broken."""
    monkeypatch.setattr(apps, "_shared", {})
    # Apps that are not collected yet have tasks of the same names.
    monkeypatch.setattr(apps, "_apps", weakref.WeakSet())
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for name, files in {
        "found_with": {"tasks.py": TASK, "jobs.py": TASK},
        "found_without": {},
        "found_broken": {"tasks.py": "import nowhere_at_all\n"},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        for file, text in files.items():
            (folder / file).write_text(text)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("found_")]:
        del sys.modules[name]


def test_tasks_are_not_imported_before_a_worker_needs_them(app):
    app.autodiscover_tasks(["found_with", "found_without"])
    assert "found_with" not in sys.modules
    with app.worker(concurrency=1):
        assert app.tasks["found_with.tasks.run"].delay().get(timeout=10) == 1
    assert "found_with.jobs" not in sys.modules


def test_force_imports_now(app):
    app.autodiscover_tasks(["found_with"], force=True)
    assert "found_with.tasks.run" in app.tasks


def test_other_names_and_packages_themselves(app):
    app.autodiscover_tasks(lambda: ["found_with"], "jobs")
    app.autodiscover_tasks(["found_without"], None)
    app.import_tasks()
    assert "found_with.jobs.run" in app.tasks
    assert "found_without" in sys.modules


def test_a_class_inside_a_package_stands_for_the_package(app):
    app.autodiscover_tasks(["found_with.Config"], force=True)
    assert "found_with.tasks.run" in app.tasks


def test_settings_name_modules_too(app):
    app.conf.imports = ("found_with.tasks",)
    app.conf.include = ("found_with.jobs",)
    app.import_tasks()
    assert {"found_with.tasks.run", "found_with.jobs.run"} <= set(app.tasks)


def test_a_module_that_breaks_is_told_and_tried_again(app, packages):
    app.autodiscover_tasks(["found_broken"])
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        app.import_tasks()
    (packages / "found_broken" / "tasks.py").write_text(TASK + "# mended\n")
    app.import_tasks()
    assert "found_broken.tasks.run" in app.tasks


def test_a_package_that_is_not_there_is_told(app):
    with pytest.raises(ModuleNotFoundError, match="found_nowhere"):
        app.autodiscover_tasks(["found_nowhere"], force=True)


def test_autodiscovery_without_packages_needs_django(app):
    with pytest.raises(CelerantError, match="DJANGO_SETTINGS_MODULE"):
        app.autodiscover_tasks(force=True)
