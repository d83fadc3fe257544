"""Groups that left in volleys come back, from stock workers and installed ones."""

from __future__ import annotations

import uuid

import pytest
from celery import chain, chord, group

import celerant.celery
from swapin.conftest import BROKERS, RESULTS

pytestmark = pytest.mark.timeout(90)
INSTALLED = {"CELERY_LOADER": "celerant.celery:Loader"}


@pytest.fixture(params=["redis", "rabbitmq"])
def side(request, make_app):
    side = make_app(request.param, RESULTS)
    side.app.set_current()
    return side


def running(side, celery_worker, backend=RESULTS, **options):
    celery_worker(
        broker=side.url,
        backend=backend,
        queue=side.queue,
        module="harness.swapin_worker:app",
        settings={"task_default_queue": side.queue},
        **options,
    )
    celerant.celery.install()


@pytest.mark.filterwarnings("ignore:Call to deprecated")
def test_all_canvases_come_back(side, celery_worker, volleys):
    running(side, celery_worker)
    add = side.add
    assert group([add.s(i, i) for i in range(300)])().get(timeout=30) == [
        i + i for i in range(300)
    ]
    assert group(add.s(i, i) for i in range(50))().get(timeout=30)[49] == 98
    nested = group([add.s(1, 1), group([add.s(2, 2), add.s(3, 3)]), add.s(4, 4)])
    assert nested().get(timeout=30) == [2, 4, 6, 8]
    body = chord([add.s(i, i) for i in range(100)], side.echo.s())
    assert body().get(timeout=30) == [[[i + i for i in range(100)]], {}]
    assert chain(add.s(1, 1), group([add.s(1), add.s(2)]))().get(timeout=30) == [3, 4]
    parts = add.chunks([(i, i) for i in range(9)], 4)().get(timeout=30)
    assert [x for part in parts for x in part] == [i + i for i in range(9)]
    mixed = group([add.s(1, 1), chain(add.s(1, 1), add.s(1)), add.s(3, 3)])
    assert mixed().get(timeout=30) == [2, 3, 6]
    lines = [chain(add.s(i, i), add.s(1), add.s(2)) for i in range(40)]
    ends = [i + i + 3 for i in range(40)]
    whole = group(lines)()
    assert whole.get(timeout=30) == ends
    assert whole[7].parent.get(timeout=30) == 15
    assert whole[7].parent.parent.get(timeout=30) == 14
    assert chord(lines, side.echo.s())().get(timeout=30) == [[ends], {}]
    between = chain(add.s(1, 1), group([add.s(i) for i in range(40)]), side.echo.s())
    found = between()
    assert found.get(timeout=30) == [[[i + 2 for i in range(40)]], {}]
    assert found.parent.get(timeout=30) == [i + 2 for i in range(40)]
    assert found.parent.parent.get(timeout=30) == 2
    assert volleys
    assert all(volleys)


@pytest.mark.filterwarnings("ignore:Call to deprecated")
def test_a_chord_that_is_unlocked_by_a_task_comes_back(
    make_app, celery_worker, volleys, tmp_path
):
    side = make_app("redis", tmp_path.as_uri())
    side.app.set_current()
    running(side, celery_worker, backend=tmp_path.as_uri())
    result = chord([side.add.s(i, i) for i in range(50)], side.echo.s())()
    assert volleys == [50]
    assert result.get(timeout=30) == [[[i + i for i in range(50)]], {}]
    assert [found.get(timeout=30) for found in result.parent.results][49] == 98


def test_a_failure_comes_back(side, celery_worker):
    running(side, celery_worker)
    result = group([side.add.s(1, 1), side.fail.s("no")])()
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=30)
    assert result.failed()
    assert result[0].get(timeout=30) == 2


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.filterwarnings("ignore:Call to deprecated")
def test_groups_leave_from_inside_tasks(side, celery_worker, pool):
    running(side, celery_worker, pool=pool, environment=INSTALLED)
    signature = side.app.signature
    # Two children send at the same time, each over connections of its own.
    found = [signature("celerant_test.spread", (30,)).apply_async() for _ in range(4)]
    for result in found:
        ids = result.get(timeout=30)
        assert {uuid.UUID(i).version for i in ids} == {8}
        members = [side.app.AsyncResult(i).get(timeout=30) for i in ids]
        assert members == [i + i for i in range(30)]
        assert [child.id for child in result.children[0]] == ids
    replaced = signature("celerant_test.become", (5,)).apply_async()
    assert replaced.get(timeout=30) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("broker", ["rabbitmq"])
def test_results_come_back_over_rpc(make_app, celery_worker, volleys, broker):
    side = make_app(broker, "rpc://")
    running(side, celery_worker, backend="rpc://")
    result = group([side.add.s(i, i) for i in range(50)])()
    assert result.get(timeout=30) == [i + i for i in range(50)]
    assert volleys == [50]
    assert BROKERS[broker] == side.url
