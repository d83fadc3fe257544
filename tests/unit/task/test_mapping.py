"""`Task.map`, `starmap` and `chunks`: many calls of one task in few messages."""

from __future__ import annotations

import pickle

import pytest

from celerant import CanvasError, Celerant, chain, group, signature


@pytest.fixture
def app():
    """An app of its own for one test."""
    with Celerant("mapping", task_default_queue="mapping") as app:
        yield app


@pytest.fixture
def add(app):
    """A task that adds, and counts its runs."""

    @app.task(name="mapping.add")
    def add(x, y=1):
        return x + y

    return add


def test_map_calls_the_task_with_every_item_in_one_message(app, add):
    with app.worker(1):
        assert add.map(iter(range(4))).delay().get(timeout=20) == [1, 2, 3, 4]
        assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=20) == [3, 7]
        # The value of a step before it is ignored, as in Celery.
        canvas = chain(add.si(1, 2), add.map([5]))
        assert canvas.apply_async().get(timeout=20) == [6]


@pytest.mark.parametrize("how", ["apply_async", "call", "group"])
def test_chunks_are_a_group_of_lists(app, add, how):
    chunks = add.chunks(zip(range(5), range(5), strict=True), 2)
    with app.worker(2):
        if how == "apply_async":
            sent = chunks.apply_async()
        elif how == "call":
            sent = chunks()
        else:
            sent = chunks.group().apply_async()
        assert sent.get(timeout=20) == [[0, 2], [4, 6], [8]]
        assert len(sent) == 3


def test_chunks_in_a_chain_are_sent_by_their_worker(app, add):
    with app.worker(2):
        canvas = chain(add.si(1, 2), add.chunks([(1, 2), (3, 4)], 1))
        form = canvas.apply_async().get(timeout=20)
        (_, _), members = form
        values = [app.AsyncResult(m[0][0]).get(timeout=20) for m in members]
    assert values == [[3], [7]]


def test_members_go_to_the_queue_of_the_task(app, add):
    app.conf.task_routes = {"mapping.add": {"queue": "mapping-other"}}
    with app.worker(1, queues=["mapping-other"]):
        assert add.map([1]).delay().get(timeout=20) == [2]
        assert add.chunks([(1, 2)], 1)().get(timeout=20) == [[3]]


@pytest.mark.parametrize("make", ["map", "starmap", "chunks"])
def test_forms_survive_rebuilding_and_pickling(add, make):
    made = getattr(add, make)([(1, 2)], *([2] if make == "chunks" else []))
    for copy in (signature(dict(made)), pickle.loads(pickle.dumps(made)), made.clone()):
        assert copy == made
        assert type(copy) is type(made)


@pytest.mark.parametrize("n", [0, -1, "2", None, True])
def test_chunks_of_no_size_are_refused(add, n):
    with pytest.raises(CanvasError, match="positive number"):
        add.chunks([(1, 2)], n)


def test_a_task_that_is_not_here_fails_the_message(app):
    unknown = dict(signature("x.unknown", app=app))
    with app.worker(1):
        result = app.send_task("celery.map", (unknown, [1]))
        with pytest.raises(LookupError, match="not registered in this"):
            result.get(timeout=20)


def test_accumulate_returns_its_arguments(app):
    with app.worker(1):
        all_of_them = app.send_task("celery.accumulate", (1, 2))
        one = app.send_task("celery.accumulate", (1, 2), {"index": 1})
        assert all_of_them.get(timeout=20) == [1, 2]
        assert one.get(timeout=20) == 2
        assert app.send_task("celery.backend_cleanup").get(timeout=20) is None


def test_a_group_of_maps_is_sent_as_one_volley(app, add):
    with app.worker(2):
        members = [add.map([n, n]) for n in range(3)]
        assert group(members).apply_async().get(timeout=20) == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("form", ["group", "chain"])
def test_chunks_beside_other_tasks_are_one_task(app, add, form):
    chunks = add.chunks([(1, 2), (3, 4)], 1)
    with app.worker(2):
        if form == "group":
            sent, value = group(chunks, add.s(1, 2)).apply_async().get(timeout=20)
            assert value == 3
            assert len(sent[1]) == 2
        else:
            assert chain(chunks, add.si(1, 2)).apply_async().get(timeout=20) == 3
