"""A group's progress in a Django project, over Redis as well as in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

pytest.importorskip("django")

from harness import services

PROJECT = Path(__file__).with_name("project")
DATABASE = 7


@pytest.mark.redis
@pytest.mark.timeout(120)
def test_progress_is_told_over_redis(tmp_path):
    services.require_redis()
    queue = f"celerant-test-{uuid.uuid4().hex[:8]}"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "manage.py", "test", "shop.tests_progress"],
            cwd=PROJECT,
            env={
                **os.environ,
                "MYSITE_FOLDER": str(tmp_path),
                "MYSITE_BROKER": services.redis_url(DATABASE),
                "MYSITE_QUEUE": queue,
            },
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        with services.redis_client(DATABASE) as client:
            client.delete(*client.keys(f"*{queue}*") or ["-"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nOK" in done.stderr, done.stderr
