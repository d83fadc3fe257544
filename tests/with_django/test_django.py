"""The tests of a Django project, run by Django in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("django")

PROJECT = Path(__file__).with_name("project")


@pytest.mark.timeout(120)
def test_the_projects_own_tests_pass(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            *("-W", "error"),
            # A thread waits for a task that is never sent, and no worker runs.
            *("-W", "ignore:waiting for a result:RuntimeWarning"),
            *("manage.py", "test", "--timing"),
        ],
        cwd=PROJECT,
        env={**os.environ, "MYSITE_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nOK" in done.stderr, done.stderr
