"""Tasks that wait for their subtasks: in the embedded worker and in stock ones."""

from __future__ import annotations

import os
import textwrap
import uuid

import pytest

from celerant import Celerant
from harness import services
from harness.celerant_worker import CelerantWorker

BROKER, RESULTS = services.redis_url(7), services.redis_url(8)
pytestmark = pytest.mark.timeout(120)

MODULE = """
    import os
    from celerant import Celerant, allow_join_result, group
    app = Celerant("joins", broker={broker!r}, backend={results!r},
                   task_default_queue=os.environ["CELERANT_QUEUE"], result_expires=600)
    stock = app.to_celery()

    @app.task(name="joins.leaf")
    def leaf(x):
        return x

    @app.task(name="joins.refused")
    def refused():
        told = []
        for result in (leaf.delay(1), group(leaf.s(i) for i in range(3))()):
            try:
                result.get(timeout=20)
            except RuntimeError as exc:
                told.append("inside task joins." in str(exc))
        return told

    @app.task(name="joins.option")
    def option():
        one = leaf.delay(1).get(timeout=20, disable_sync_subtasks=False)
        many = group(leaf.s(i) for i in range(3))()
        return one, many.get(timeout=20, disable_sync_subtasks=False)

    @app.task(name="joins.block")
    def block():
        with allow_join_result():
            one = leaf.delay(1).get(timeout=20)
            many = group(leaf.s(i) for i in range(3))().get(timeout=20)
        return one, many, refused.run()

    @app.task(name="joins.celerys")
    def celerys():
        from celery import result
        with result.allow_join_result():
            one = leaf.delay(1).get(timeout=20)
        return one, refused.run()
"""

KINDS = {
    "ours-threads": ("ours", "threads"),
    "ours-processes": ("ours", "processes"),
    "stock-prefork": ("stock", "prefork"),
    "stock-threads": ("stock", "threads"),
}


@pytest.fixture(params=list(KINDS), scope="module")
def joins(request, redis_url, celery_worker, tmp_path_factory):
    kind, pool = KINDS[request.param]
    folder = tmp_path_factory.mktemp("joins")
    queue = f"celerant-joins-{uuid.uuid4().hex[:8]}"
    (folder / "celerant_joins.py").write_text(
        textwrap.dedent(MODULE.format(broker=BROKER, results=RESULTS))
    )
    environment = {"PYTHONPATH": str(folder), "CELERANT_QUEUE": queue}
    if kind == "stock":
        worker = celery_worker(
            broker=BROKER,
            backend=RESULTS,
            queue=queue,
            module="celerant_joins:stock",
            pool=pool,
            environment=environment,
        )
    else:
        worker = CelerantWorker(
            folder=folder,
            module="celerant_joins:app",
            hostname=f"{queue}@localhost",
            pool=pool,
            environment={**os.environ, **environment},
        )
        worker.__enter__()
    with Celerant(
        "joins", broker=BROKER, backend=RESULTS, task_default_queue=queue
    ) as app:

        def run(task):
            return app.send_task(f"joins.{task}").get(timeout=60)

        yield kind, run
    worker.stop()
    with services.redis_client(7) as client:
        client.delete(*(client.keys(f"*{queue}*") or ["-"]))


def test_waiting_is_refused(joins):
    assert joins[1]("refused") == [True, True]


def test_the_option_allows_waiting_in_a_task(joins):
    assert joins[1]("option") == [1, [0, 1, 2]]


def test_the_block_allows_waiting_in_a_task_and_no_longer(joins):
    assert joins[1]("block") == [1, [0, 1, 2], [True, True]]


def test_celerys_block_allows_waiting_in_celerys_workers(joins):
    kind, run = joins
    if kind == "stock":
        assert run("celerys") == [1, [True, True]]
    else:
        with pytest.raises(RuntimeError, match=r"celerant.allow_join_result"):
            run("celerys")
