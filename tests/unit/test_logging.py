"""The application decides on the package's logs."""

from __future__ import annotations

import subprocess
import sys

#: The worker logs the failure of the task as an error.
PROGRAM = """
from celerant import Celerant

app = Celerant("quiet")


@app.task(name="quiet.fail")
def fail():
    raise ValueError("told to the logs")


with app.worker(concurrency=1):
    fail.delay().get(timeout=10, propagate=False)
"""
CONFIGURED = "import logging\nlogging.basicConfig()\n" + PROGRAM


def _stderr(program):
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=25,
        check=True,
    )
    assert ran.stdout == ""
    return ran.stderr


def test_unconfigured_logging_prints_no_lines():
    assert _stderr(PROGRAM) == ""


def test_configured_logging_gets_the_records():
    told = _stderr(CONFIGURED)
    assert "ERROR:celerant.worker:" in told
    assert "told to the logs" in told
