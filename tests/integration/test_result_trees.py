"""Results of canvases over Redis, beside those of stock Celery."""

from __future__ import annotations

import contextlib
import pickle
import uuid
from types import SimpleNamespace

import celery
import pytest
from celery.result import GroupResult as StockGroupResult

import celerant
from celerant import GroupResult, Report, result_from_tuple
from harness.canvas_tasks import define_canvas_tasks
from harness.celery_worker import CeleryWorker
from harness.services import redis_client
from harness.stock_client import stock_client

pytestmark = pytest.mark.timeout(120)
WAIT = 30


@pytest.fixture(params=["embedded", "stock"])
def pair(request, make_app, own_urls):
    """Celerant's and Celery's canvases and tasks, run by one worker of either kind."""
    app = make_app("redis")
    ours = define_canvas_tasks(app, own_urls["results"])
    urls = {"broker": own_urls["redis"], "backend": own_urls["results"]}
    with contextlib.ExitStack() as stack:
        stock = stack.enter_context(stock_client(queue=app.name, **urls))
        theirs = define_canvas_tasks(stock, own_urls["results"], shared=False)
        if request.param == "embedded":
            stack.enter_context(app.worker(concurrency=4))
        else:
            worker = CeleryWorker(
                queue=app.name,
                module="harness.stock_canvas_worker:app",
                settings={"task_default_queue": app.name},
                **urls,
            )
            stack.enter_context(worker)
        yield SimpleNamespace(
            ours=SimpleNamespace(lib=celerant, app=app, **vars(ours)),
            theirs=SimpleNamespace(lib=celery, app=stock, **vars(theirs)),
        )


def ending_in_groups(side):
    add, group = side.add, side.lib.group
    return group(
        add.s(1, 1),
        add.s(2, 2) | group(add.s(1), add.s(2) | add.s(3)),
        add.s(4, 4)
        | group(add.s(1), add.s(2))
        | group(side.add.s([0]), side.add.s([])),
    )


def lone(side):
    return side.lib.group([side.add.s(1, 1) | side.lib.group(side.add.s(1))])


def header_of_groups(side):
    add, group = side.add, side.lib.group
    header = [add.s(1, 1), add.s(2, 2) | group(add.s(1), add.s(2)), add.s(3, 3)]
    return side.lib.chord(header, side.gather.s(f"celerant-test-{uuid.uuid4().hex}"))


def streamed_header(side):
    add, group = side.add, side.lib.group
    header = (add.s(i, i) | group(add.s(1), add.s(2)) for i in range(3))
    return side.lib.chord(header, side.gather.s(f"celerant-test-{uuid.uuid4().hex}"))


def member_with_such_a_header(side):
    return side.lib.group(side.add.s(0, 0), header_of_groups(side))


def shape(value):
    """The part of a form without ids: lists in lists, and which have a parent."""
    (_, parent), members = value
    below = None if members is None else [shape(member) for member in members]
    return (None if parent is None else shape(parent)), below


CANVASES = {
    make.__name__: make
    for make in (
        ending_in_groups,
        lone,
        header_of_groups,
        member_with_such_a_header,
    )
}


@pytest.mark.parametrize("name", CANVASES)
def test_values_and_forms_are_celery_s(pair, name):
    make = CANVASES[name]
    ours, theirs = make(pair.ours).apply_async(), make(pair.theirs).apply_async()
    expected = theirs.get(timeout=WAIT)
    assert ours.get(timeout=WAIT) == expected
    assert shape(ours.as_tuple()) == shape(theirs.as_tuple())
    # Each reads the other's.
    assert result_from_tuple(theirs.as_tuple(), pair.ours.app).get(WAIT) == expected
    again = celery.result.result_from_tuple(ours.as_tuple(), pair.theirs.app)
    assert again.get(timeout=WAIT) == expected
    assert pickle.loads(pickle.dumps(ours)).get(timeout=WAIT) == expected


def test_a_streamed_header_keeps_its_form(pair):
    """Headers for which Celery gives the body one flat list in no order."""
    result = streamed_header(pair.ours).apply_async()
    assert result.get(timeout=WAIT) == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_saved_group_is_either_one_s(pair):
    ours = ending_in_groups(pair.ours).apply_async()
    theirs = ending_in_groups(pair.theirs).apply_async()
    ours.save()
    theirs.save()
    expected = ours.get(timeout=WAIT)
    stock = StockGroupResult.restore(ours.id, app=pair.theirs.app)
    assert stock.as_tuple() == ours.as_tuple()
    assert stock.get(timeout=WAIT) == expected
    again = GroupResult.restore(theirs.id, app=pair.ours.app)
    assert again.as_tuple() == theirs.as_tuple()
    assert again.get(timeout=WAIT) == expected
    key = f"celery-taskset-meta-{ours.id}"
    with redis_client(8) as client:
        assert 0 < client.ttl(key) <= 600
        ours.delete()
        assert not client.exists(key)
    assert StockGroupResult.restore(ours.id, app=pair.theirs.app) is None
    theirs.delete()
    assert GroupResult.restore(theirs.id, app=pair.ours.app) is None


def test_a_handle_brings_the_tree_to_another_process(pair):
    result = ending_in_groups(pair.ours).apply_async()
    again = pair.ours.app.attach(result.handle)
    assert again.as_tuple() == result.as_tuple()
    assert again.get(timeout=WAIT) == result.get(timeout=WAIT)
    assert again[1][1].parent == result[1][1].parent
    assert result[1][1].parent.get(timeout=WAIT) == 6
    assert len(result.handle) < 200


def test_a_failure_inside_is_found(pair):
    add, fail, group = pair.ours.add, pair.ours.fail, pair.ours.lib.group
    canvas = group(add.s(1, 1), add.s(2, 2) | group(add.s(1), fail.s(), add.s(2)))
    result = canvas.apply_async()
    with pytest.raises(ValueError, match="4"):
        result.get(timeout=WAIT)
    values = result.get(timeout=WAIT, propagate=False)
    assert (values[0], values[1][0], values[1][2]) == (2, 5, 6)
    assert isinstance(values[1][1], ValueError)
    assert result[1].counts()["FAILURE"] == 1


def test_a_chain_that_fails_before_a_chord_raises_at_once(pair):
    """The chord's body never gets a record from stock workers."""
    add, fail, group = pair.ours.add, pair.ours.fail, pair.ours.lib.group
    key = f"celerant-test-{uuid.uuid4().hex}"
    canvas = fail.s("first") | group(add.s(1), add.s(2)) | pair.ours.gather.s(key)
    with pytest.raises(ValueError, match="first"):
        canvas.apply_async().get(timeout=WAIT)


def test_results_of_tasks_sent_by_tasks_are_collected(pair):
    add = pair.ours.add
    line = (add.s(1, 1) | add.s(2) | add.s(3)).apply_async()
    assert line.get(timeout=WAIT) == 7
    first = line.parent.parent
    assert [value for _, value in first.collect(timeout=WAIT)] == [2, 4, 7]
    assert first.get_leaf() == 7
    ids = [first.id, line.parent.id, line.id]
    assert list(line.graph.edges) == [(ids[0], ids[1]), (ids[1], ids[2])]
    line.forget()
    assert pair.ours.app.backend.fetch(ids) == [None] * 3


def test_a_lone_group_keeps_the_report(pair):
    result = lone(pair.ours).apply_async()
    assert isinstance(result.report, Report)
    assert result.get(timeout=WAIT) == [3]
