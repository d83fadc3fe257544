"""The same Django project served by every kind of worker, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

pytest.importorskip("django")

from celerant import Celerant, group
from harness import services
from harness.celerant_worker import CelerantWorker
from harness.celery_worker import CeleryWorker

PROJECT = Path(__file__).with_name("project")
DATABASE = 7
TIMEOUT = 30


@pytest.fixture
def name():
    services.require_redis()
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    yield name
    with services.redis_client(DATABASE) as client:
        client.delete(*client.keys(f"*{name}*") or ["-"])


@pytest.fixture
def environment(name, tmp_path):
    """The environment of the project's processes; its tables are made."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "MYSITE_FOLDER": str(tmp_path),
        "MYSITE_BROKER": services.redis_url(DATABASE),
        "MYSITE_QUEUE": name,
        # Unclosed connections would stay for the next task to find.
        "MYSITE_CONN_MAX_AGE": "0",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)]),
    }
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--run-syncdb", "-v", "0"],
        cwd=PROJECT,
        env=environment,
        check=True,
    )
    return environment


@pytest.fixture(params=["celery solo", "celery prefork", "threads", "processes"])
def worker(request, name, environment):
    kind, _, pool = request.param.partition(" ")
    if kind == "celery":
        url = services.redis_url(DATABASE)
        process = CeleryWorker(
            broker=url,
            backend=url,
            queue=name,
            module="mysite.cluster:app",
            pool=pool,
            concurrency=1,
            environment=environment,
        )
    else:
        process = CelerantWorker(
            folder=PROJECT,
            module="mysite.celerant",
            hostname=name,
            pool=kind,
            concurrency=1,
            environment=environment,
        )
    with process:
        yield process


@pytest.mark.redis
@pytest.mark.timeout(90)
def test_tasks_are_found_and_use_the_database(worker, name):
    url = services.redis_url(DATABASE)
    with Celerant("client", broker=url, task_default_queue=name) as app:
        where = app.signature("shop.tasks.where").apply_async().get(TIMEOUT)
        assert where[1:] == ["shop.tasks.where", 0]
        before = group(app.signature("shop.connection_before") for _ in range(3))
        assert before.apply_async().get(TIMEOUT) == [False, False, False]
