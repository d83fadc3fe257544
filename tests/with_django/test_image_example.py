"""The example `examples/django_images`, by its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

pytest.importorskip("django")
pytest.importorskip("PIL")

from harness import services

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "django_images"
DATABASE = 7


def _test(*names, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "test", *names],
        cwd=EXAMPLE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nOK" in done.stderr, done.stderr


@pytest.mark.timeout(120)
def test_the_examples_own_tests_pass(tmp_path):
    _test(IMAGES_DATA=str(tmp_path), IMAGES_BROKER="memory://")


@pytest.mark.redis
@pytest.mark.timeout(120)
def test_an_upload_is_worked_on_over_redis(tmp_path):
    services.require_redis()
    queue = f"celerant-test-{uuid.uuid4().hex[:8]}"
    try:
        _test(
            "gallery.tests.UploadTest.test_a_jpeg_becomes_three_files_in_order",
            "gallery.tests.TransactionTest",
            IMAGES_DATA=str(tmp_path),
            IMAGES_BROKER=services.redis_url(DATABASE),
            IMAGES_QUEUE=queue,
        )
    finally:
        with services.redis_client(DATABASE) as client:
            client.delete(*client.keys(f"*{queue}*") or ["-"])


def test_the_examples_migrations_are_complete(tmp_path):
    command = [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]
    environment = {**os.environ, "IMAGES_DATA": str(tmp_path)}
    done = subprocess.run(command, cwd=EXAMPLE, env=environment, check=False)
    assert done.returncode == 0
