"""Celerant in processes that gevent has patched: workers' tasks and clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import uuid

import pytest

from celerant import Celerant
from harness import services

BROKER, RESULTS = services.redis_url(7), services.redis_url(8)
pytestmark = pytest.mark.timeout(120)

MODULE = """
    import threading
    from celerant import Celerant, group
    app = Celerant("greens", broker={broker!r}, backend={results!r},
                   task_default_queue={name!r}, result_expires=600)
    stock = app.to_celery()

    @app.task(name="greens.leaf", bind=True)
    def leaf(self, x):
        import gevent.monkey
        assert gevent.monkey.is_module_patched("socket")
        return [self.request.root_id, self.request.parent_id, x]

    @app.task(name="greens.branch")
    def branch(size):
        return group(leaf.s(i) for i in range(size))().as_tuple()
"""

CLIENT = """
    from gevent import monkey; monkey.patch_all()
    import gevent, json
    from {module} import app, leaf
    from celerant import group

    def volley(size):
        sent = group(leaf.s(i) for i in range(size))()
        return [x for _, _, x in sent.get(timeout=60)]

    ticks = 0
    def tick():
        global ticks
        while True:
            ticks += 1
            gevent.sleep(0)

    ticking = gevent.spawn(tick)
    volleys = [gevent.spawn(volley, size) for size in range(1, 21)]
    gevent.joinall(volleys, raise_error=True, timeout=60)
    ticking.kill()
    single = leaf.delay(7).get(timeout=60)[2]
    print(json.dumps([[v.value for v in volleys], single, ticks]))
    app.close()
"""


@pytest.fixture(scope="module")
def greens(redis_url, celery_worker, tmp_path_factory):
    """A module of tasks, and a stock worker of theirs with gevent's pool."""
    folder = tmp_path_factory.mktemp("gevent")
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    module = name.replace("-", "_")
    code = MODULE.format(broker=BROKER, results=RESULTS, name=name)
    (folder / f"{module}.py").write_text(textwrap.dedent(code))
    worker = celery_worker(
        broker=BROKER,
        backend=RESULTS,
        queue=name,
        module=f"{module}:stock",
        pool="gevent",
        concurrency=20,
        environment={"PYTHONPATH": str(folder)},
    )
    yield folder, module, name
    worker.stop()
    with services.redis_client(7) as client:
        client.delete(*(client.keys(f"*{name}*") or ["-"]))


def test_tasks_sent_by_tasks_of_a_gevent_worker_keep_their_lineage(greens):
    name = greens[2]
    app = Celerant("l", broker=BROKER, backend=RESULTS, task_default_queue=name)
    with app, services.redis_client(8) as client:
        # Side by side: each greenlet has a request of its own.
        tops = [app.send_task("greens.branch", (size,)) for size in range(1, 21)]
        for size, top in enumerate(tops, 1):
            sent = top.get(timeout=60)
            stored = json.loads(client.get(f"celery-task-meta-{top.id}"))
            assert stored["children"] == [sent]
            (_, _), members = sent
            assert len(members) == size
            for i, ((leaf, _), _) in enumerate(members):
                told = app.AsyncResult(leaf).get(timeout=60)
                assert told == [top.id, top.id, i]


def test_a_patched_client_sends_groups_and_gets_results(greens):
    folder, module, _ = greens
    code = textwrap.dedent(CLIENT.format(module=module))
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    volleys, single, ticks = json.loads(done.stdout)
    assert volleys == [list(range(size)) for size in range(1, 21)]
    assert single == 7
    # Nothing held up the loop: other greenlets ran meanwhile.
    assert ticks > 20


EMBEDDED = """
    from gevent import monkey; monkey.patch_all()
    from celerant import Celerant, group
    app = Celerant("greens-memory")

    @app.task
    def same(x):
        return x

    with app, app.worker(concurrency=2):
        print(group(same.s(i) for i in range(1200))().get(timeout=30) == [*range(1200)])
        print(same.delay(7).get(timeout=30))
"""


def test_a_patched_process_sends_and_works_over_memory():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EMBEDDED)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "7"]
