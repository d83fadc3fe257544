"""django-celery-results as the store of a Celery project with the swap-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

pytest.importorskip("django_celery_results")

from harness import services
from harness.celery_worker import CeleryWorker

PROJECT = Path(__file__).with_name("stock_project")
DATABASE = 7


@pytest.fixture
def environment(tmp_path):
    services.require_redis()
    name = f"celerant-plant-{uuid.uuid4().hex[:8]}"
    yield {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)]),
        "PLANT_FOLDER": str(tmp_path),
        "PLANT_BROKER": services.redis_url(DATABASE),
        "PLANT_QUEUE": name,
    }
    with services.redis_client(DATABASE) as client:
        client.delete(*client.keys(f"*{name}*"), "nobody")


@pytest.mark.redis
@pytest.mark.timeout(120)
def test_results_are_read_in_bulk_and_come_back(environment):
    client = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "plant.client"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = CeleryWorker(
        broker=environment["PLANT_BROKER"],
        backend="django-db",
        queue=environment["PLANT_QUEUE"],
        module="plant.cluster:app",
        pool="prefork",
        # SQLite has one writer at a time.
        concurrency=1,
        environment={**environment, "CELERY_LOADER": "celerant.celery:Loader"},
    )
    with client:
        assert client.stdout.readline() == "migrated\n"
        with worker:
            out, _ = client.communicate("go\n", timeout=90)
    assert client.returncode == 0, "".join(worker.log[-40:])
    (queries, told, is_same), back = json.loads(out)
    # Two for each look, as there are more than a thousand.
    assert queries == 6
    assert told == [False, 20, True]
    assert is_same
    doubled = [i + i for i in range(20)]
    failed = "[2, ValueError('no')]"
    assert back == [doubled, sum(doubled), [3, 4], failed, [0, 2, 4, 6, 8]]
