"""Celery's own unit tests of its canvas pass with the swap-in installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import celery
import pytest

from harness import services
from harness.older_celery import install_celery, lend_celerant

TESTS = Path(__file__).parents[1]
VERSION = "5.7.0"
#: Of older versions, in environments of their own: the numbers that pass.
OLDER = {"5.5.3": 746, "5.6.3": 755}
MODULES = ["test_canvas", "test_chord", "test_result", "test_stamping"]
#: The number that passes on stock Celery, in the same modules.
PASSED = 1008
#: Tests of Celery's internals rather than its behaviour, and why: none so far.
DESELECTED: dict[str, str] = {}


@pytest.fixture(scope="module")
def suite(request, tmp_path_factory):
    """The folder of Celery's tests, from its source distribution."""
    if celery.__version__ != VERSION:
        pytest.skip(f"the tests are those of celery {VERSION}")
    return unpacked(request.config, tmp_path_factory, VERSION)


def unpacked(config, tmp_path_factory, version):
    """Return the folder of a version's tests."""
    kept = config.cache.mkdir("celery-sdist")
    archive = kept / f"celery-{version}.tar.gz"
    if not archive.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        source = ["--no-binary", ":all:", "--dest", str(kept)]
        done = subprocess.run([*pip, *source, f"celery=={version}"], check=False)
        if done.returncode or not archive.exists():
            services.absent(f"the source distribution of celery {version}")
    # Without the package itself: the tests must run on the installed one.
    folder = tmp_path_factory.mktemp("celery")
    with tarfile.open(archive) as sources:
        prefix = f"celery-{version}/"
        for member in sources.getmembers():
            if member.name.startswith(f"{prefix}t/") and member.isfile():
                target = folder / member.name.removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(sources.extractfile(member).read())
    return folder


@pytest.mark.timeout(600)
def test_celerys_own_tests_pass(suite):
    path = [str(TESTS), str(TESTS.parent / "python"), os.environ.get("PYTHONPATH", "")]
    pass_there(suite, sys.executable, path, PASSED)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", list(OLDER))
def test_the_own_tests_of_older_versions_pass(request, tmp_path_factory, version):
    kept = request.config.cache.mkdir(f"own-tests-{version}")
    python = install_celery(
        kept / "venv", version, "pytest", "pytest-subtests", "orjson"
    )
    lent = lend_celerant(kept / "metadata")
    suite = unpacked(request.config, tmp_path_factory, version)
    pass_there(suite, python, [str(TESTS), lent], OLDER[version])


def pass_there(suite, python, path, expected):
    deselected = [f"--deselect={name}" for name in DESELECTED]
    ran = subprocess.run(
        [
            *(str(python), "-m", "pytest", "-q", "-W", "ignore"),
            *("-p", "celery.contrib.pytest", "-p", "harness.swapin_plugin"),
            *("-p", "no:cacheprovider", "-o", "python_classes=test_*"),
            *("-o", "xfail_strict=true", "--rootdir", "."),
            *(f"t/unit/tasks/{name}.py" for name in MODULES),
            *deselected,
        ],
        cwd=suite,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path).rstrip(os.pathsep),
            # Other plugins look at objects of Celery's tests, and change them so.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed", ran.stdout)[1])
    assert passed == expected - len(DESELECTED)
    # Most of these tests replace a part of Celery, and get its own path for that.
    assert int(re.search(r"volleys: (\d+)", ran.stdout)[1]) > 0
