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


BY_LOADER = {"environment": INSTALLED}
BY_INCLUDE = {"more": ["-I", "celerant.celery.auto"]}


@pytest.mark.parametrize(
    ("side", "pool", "options"),
    [
        ("redis", "prefork", BY_LOADER),
        ("rabbitmq", "prefork", BY_INCLUDE),
        ("redis", "threads", BY_INCLUDE),
        ("redis", "gevent", BY_LOADER),
        ("rabbitmq", "eventlet", BY_LOADER),
    ],
    indirect=["side"],
)
@pytest.mark.filterwarnings("ignore:Call to deprecated")
def test_canvases_leave_from_inside_tasks(side, celery_worker, pool, options):
    running(side, celery_worker, pool=pool, **options)
    signature = side.app.signature
    # Two children send at the same time, each over connections of its own.
    found = [signature("celerant_test.spread", (30,)).apply_async() for _ in range(4)]
    for result in found:
        ids = result.get(timeout=30)
        assert {uuid.UUID(i).version for i in ids} == {8}
        assert values(side, ids) == [i + i for i in range(30)]
        assert [child.id for child in result.children[0]] == ids
    replaced = signature("celerant_test.become", (5,)).apply_async()
    assert replaced.get(timeout=30) == [0, 2, 4, 6, 8]
    body, *ends = signature("celerant_test.weave", (5,)).apply_async().get(timeout=30)
    assert values(side, ends) == [2, 3, 4, 5, 6]
    assert values(side, [body]) == [[[[0, 2, 4, 6, 8]], {}]]


def values(side, ids):
    """Return results by bulk reads: older versions lose those that two wait for."""
    found = dict(side.app.backend.get_many(ids, timeout=30, interval=0.05))
    return [found[task_id]["result"] for task_id in ids]


def test_installed_and_stock_processes_share_a_queue(side, celery_worker, volleys):
    running(side, celery_worker, environment=INSTALLED)
    # Two of one name would take each other's control queue.
    running(side, celery_worker, name=f"{side.queue}-stock")
    members = [side.add.s(i, i) for i in range(100)]
    ours = [group(members)() for _ in range(3)]
    celerant.celery.uninstall()
    theirs = [group(members)() for _ in range(3)]
    assert volleys == [100] * 3
    for result in ours + theirs:
        assert result.get(timeout=30) == [i + i for i in range(100)]
    # Both kinds of workers get tasks that send groups, and either kind of member.
    signature = side.app.signature
    sent = [signature("celerant_test.spread", (3,)).apply_async() for _ in range(20)]
    for result in sent:
        assert values(side, result.get(timeout=30)) == [0, 2, 4]


@pytest.mark.filterwarnings("ignore:Call to deprecated")
def test_results_come_back_from_a_database(make_app, celery_worker, volleys, tmp_path):
    pytest.importorskip("sqlalchemy")
    url = f"db+sqlite:///{tmp_path}/results.sqlite"
    side = make_app("redis", url)
    side.app.set_current()
    # One at a time: SQLite has one writer.
    running(side, celery_worker, backend=url, concurrency=1, environment=INSTALLED)
    result = group([side.add.s(i, i) for i in range(30)])()
    assert volleys == [30]
    assert result.get(timeout=30) == [i + i for i in range(30)]
    assert result.successful()
    last = chain(side.add.s(1, 1), group([side.add.s(1), side.add.s(2)]))()
    assert last.get(timeout=30) == [3, 4]
    # Celery's workers poll for the header's end.
    body = chord([side.add.s(i, i) for i in range(3)], side.echo.s())()
    assert body.get(timeout=30) == [[[0, 2, 4]], {}]


@pytest.mark.parametrize("broker", ["rabbitmq"])
def test_results_come_back_over_rpc(make_app, celery_worker, volleys, broker):
    side = make_app(broker, "rpc://")
    running(side, celery_worker, backend="rpc://")
    result = group([side.add.s(i, i) for i in range(50)])()
    assert result.get(timeout=30) == [i + i for i in range(50)]
    assert volleys == [50]
    assert BROKERS[broker] == side.url
