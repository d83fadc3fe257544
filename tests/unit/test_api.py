from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import celerant
from celerant import errors

PUBLIC = {
    "AsyncResult",
    "Celerant",
    "GroupResult",
    "group",
    "signature",
}


def _modules():
    for found in pkgutil.walk_packages(celerant.__path__, "celerant."):
        # Importing the one runs the command, the other changes Celery.
        if found.name.rpartition(".")[2] not in {"__main__", "auto"}:
            yield found.name


def test_promised_names_are_exported():
    assert set(celerant.__all__) >= PUBLIC
    assert list(celerant.__all__) == sorted(set(celerant.__all__))
    assert [name for name in celerant.__all__ if not hasattr(celerant, name)] == []


def test_type_checkers_see_the_names_that_are_loaded_when_asked_for():
    typed = {}
    tree = ast.parse(Path(celerant.__file__).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for one in node.body:
                if isinstance(one, ast.ImportFrom):
                    typed |= {
                        name.asname or name.name: one.module for name in one.names
                    }

    assert typed == celerant._PLACES


def test_an_import_loads_neither_the_worker_nor_amqp():
    code = "import celerant, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert [name for name in loaded if name.startswith("celerant.worker")] == []
    assert "amqp" not in loaded


def test_sending_loads_no_worker():
    code = (
        "import sys; from celerant import Celerant, group; app = Celerant('plain');"
        "group(app.signature('x', (i,)) for i in range(3)).delay(); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert [name for name in loaded if name.startswith("celerant.worker")] == []


@pytest.mark.parametrize("name", sorted(celerant.__all__))
def test_exported_names_are_documented(name):
    thing = getattr(celerant, name)
    if not callable(thing):
        return
    assert inspect.getdoc(thing)
    if not inspect.isclass(thing):
        return
    bare = [
        member
        for member, value in vars(thing).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
        and not inspect.getdoc(value)
    ]
    assert bare == []


@pytest.mark.parametrize("name", sorted(_modules()))
def test_every_module_imports_and_has_a_docstring(name):
    if name.startswith("celerant.django"):
        pytest.importorskip("django")
    module = importlib.import_module(name)
    assert module.__doc__ or name == "celerant._core"
    missing = [n for n in getattr(module, "__all__", ()) if not hasattr(module, n)]
    assert missing == []


#: Without functions, aliases and control flow.
ERRORS = [
    name
    for name in errors.__all__
    if getattr(errors, name).__name__ == name
    and inspect.isclass(getattr(errors, name))
    and not issubclass(
        getattr(errors, name), (errors.TaskControl, errors.SoftTimeLimitExceeded)
    )
]
CONTROLS = [
    errors.Retry(exc=ValueError("late"), when=3),
    errors.Ignore("why"),
    errors.Reject("why", requeue=True),
]


@pytest.mark.parametrize(
    "control", CONTROLS, ids=lambda control: type(control).__name__
)
def test_control_flow_survives_pickling(control):
    copy = pickle.loads(pickle.dumps(control))

    assert type(copy) is type(control)
    assert (str(copy), repr(copy)) == (str(control), repr(control))
    assert vars(copy).keys() == vars(control).keys()


@pytest.mark.parametrize("name", ERRORS)
def test_errors_survive_pickling(name):
    error = getattr(errors, name)("a message", group_index=3, path="group[3]")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert copy.args == error.args
    assert copy.__dict__ == error.__dict__


@pytest.mark.parametrize("name", ERRORS)
def test_errors_stand_in_the_tree_at_the_top_of_their_module(name):
    error = getattr(errors, name)
    assert issubclass(error, errors.CelerantError)
    assert f"{name}" in (errors.__doc__ or "")


def test_import_is_quiet_and_starts_no_thread_and_imports_no_extra():
    program = (
        "import sys, threading, celerant\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        # kombu itself imports django.utils if Django is installed.
        "extras = {'celery', 'django.apps', 'redis', 'rich'} & set(sys.modules)\n"
        "assert not extras, extras\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_extension_says_how_it_was_built():
    from celerant import _core

    info = _core.build_info()
    assert info["profile"] == "release"
    assert info["abi"] == "abi3"
    assert info["version"] == celerant.__version__


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert celerant.__version__ == version("celerant")
