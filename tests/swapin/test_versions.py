"""The older versions of Celery that are served, each with a kombu of its time.

The tests beside this one run once more there: what leaves, random canvases, results,
and real workers on both brokers.
"""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from harness import services
from harness.older_celery import install_celery, lend_celerant

ROOT = Path(__file__).parents[2]
#: Otherwise pip would choose the newest kombu, which 5.7 is tested with.
KOMBU = {"5.5": "kombu[redis]==5.5.*", "5.6": "kombu[redis]==5.6.*"}
TESTED_WITH = (
    "hypothesis",
    "msgpack",
    "orjson",
    "pytest",
    "pytest-timeout",
    "pyyaml",
    "sqlalchemy",
)
MODULES = (
    *("messages", "oracle", "own_path", "installing", "uninstalling"),
    *("chains", "headers", "signals"),
    *("results", "bulk_sql", "bulk_rpc", "workers"),
)
#: Tests that only take long, or need other packages.
LEFT_OUT = (
    *("is_gone", "failure_comes_back", "threads", "gevent", "eventlet"),
    *("share_a_queue", "from_a_database", "all_canvases and redis"),
    *("bulk_rpc and redis", "results_of_others", "bulk_sql and plain"),
    *("bulk_sql and extended", "install_the_swap_in", "threads_send_while"),
)
#: Older versions lack a worker's retries of its sends, and batches.
SKIPPED = 2
#: Theirs, and that of older versions of redis-py; 5.7 is tested without.
IGNORED = (
    "ignore:Call to deprecated",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(params=list(KOMBU))
def older(request):
    """Return the Python of an older version, and a PYTHONPATH for Celerant."""
    services.require_redis()
    services.require_rabbitmq()
    kept = request.config.cache.mkdir(f"swapin-{request.param}")
    pins = [f"{name}=={version(name)}" for name in TESTED_WITH]
    python = install_celery(
        kept / "venv", f"{request.param}.*", KOMBU[request.param], *pins
    )
    return python, lend_celerant(kept / "metadata")


@pytest.mark.timeout(400)
def test_the_swap_in_serves_older_versions(older):
    python, path = older
    ran = subprocess.run(
        [
            *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"tests/swapin/test_{name}.py" for name in MODULES),
            *("-k", " and ".join(f"not ({name})" for name in LEFT_OUT)),
            *(word for text in IGNORED for word in ("-W", text)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "CELERANT_ORACLE_EXAMPLES": "80",
            "PYTHONWARNINGS": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    found = re.search(r"(\d+) passed, (\d+) skipped", ran.stdout)
    passed, skipped = map(int, found.groups())
    assert passed > 190
    assert skipped == SKIPPED
