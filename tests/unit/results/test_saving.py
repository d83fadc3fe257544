"""Groups kept under their ids, and results as pickles."""

from __future__ import annotations

import pickle
import uuid

import pytest
from kombu import Connection

from celerant import Celerant, GroupResult, group
from celerant.errors import CelerantError
from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from celerant.results.tree import result_from_tuple

FORM = (
    ("g", (("before", (("first", None), None)), None)),
    [
        (("a", None), None),
        (("inner", (("p", None), None)), [(("b", None), None), (("c", None), None)]),
    ],
)


@pytest.fixture
def app():
    # Unpickled through an app of that name: no other test's may be left.
    with Celerant(f"celerant-test-{uuid.uuid4().hex[:8]}") as app:
        yield app


@pytest.fixture
def saved(app):
    return result_from_tuple(FORM, app)


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(x, y):
        return x + y

    return add


def test_a_saved_group_is_restored_by_its_id(app, saved):
    assert GroupResult.restore("g", app=app) is None
    saved.save()
    again = GroupResult.restore("g", app=app)
    assert again.as_tuple() == FORM
    assert GroupResult.restore("g").as_tuple() == FORM
    assert app.GroupResult.restore("g", app.backend).as_tuple() == FORM
    saved.delete()
    assert app.GroupResult.restore("g") is None


def test_app_group_result_looks_in_that_app(app, saved):
    saved.save()
    with Celerant("another") as other:
        assert other.GroupResult.restore("g") is None
        assert GroupResult.restore("g") is None
        assert app.GroupResult.restore("g") == saved


def test_a_saved_header_outlives_its_chord(app):
    backend = app.backend
    result_from_tuple(FORM, app).save()
    backend.set_chord_size("g", 1)
    counter = backend.chord_counter()
    assert counter.count("g", "a", 0, b"part", token="mine")
    assert counter.finish("g", "mine")
    assert app.GroupResult.restore("g").as_tuple() == FORM


def test_results_sent_one_by_one_make_a_group(app):
    members = [app.AsyncResult("a"), result_from_tuple(FORM[1][1], app)]
    made = app.GroupResult("g", members, parent=result_from_tuple(FORM, app).parent)
    assert made.as_tuple() == FORM


def test_saving_on_a_store_that_keeps_no_groups_is_refused():
    backend = open_backend("rpc://", name="x", connect=Connection)
    result = result_from_tuple(FORM, backend)
    with pytest.raises(CelerantError, match=r"group g cannot be saved .*rpc://"):
        result.save()
    with pytest.raises(CelerantError, match="keeps no groups"):
        GroupResult.restore("g", backend)


def test_pickled_results_know_their_parents(app, saved):
    saved.members.sent_at = 17.0
    again = pickle.loads(pickle.dumps(saved))
    assert again.as_tuple() == FORM
    assert again.backend is app.backend
    assert again.members.sent_at == 17.0
    line = pickle.loads(pickle.dumps(saved.parent))
    assert line.as_list() == ["before", "first"]
    assert pickle.loads(pickle.dumps(saved[0])) == "a"


def test_a_pickled_group_of_ours_is_short_and_gets_its_values(app, add):
    result = group(add.s(i, i) for i in range(1000)).apply_async()
    pickled = pickle.dumps(result)
    assert len(pickled) < 1000
    with app.worker(concurrency=1):
        again = pickle.loads(pickled)
        assert again == result
        assert again.get(timeout=10) == [2 * i for i in range(1000)]


def test_pickled_results_in_place_keep_their_values(add):
    result = group(add.s(1, 2), add.s("x", 3)).apply()
    values = pickle.loads(pickle.dumps(result)).get(propagate=False, timeout=0)
    assert values[0] == 3
    assert isinstance(values[1], TypeError)
    assert pickle.loads(pickle.dumps(add.apply((1, 2)))).get(timeout=0) == 3
    assert pickle.loads(pickle.dumps(result[0])).get(timeout=0) == 3


def test_a_pickle_of_an_app_that_is_not_here_says_so():
    with Celerant("celerant-test-gone") as gone:
        pickled = pickle.dumps(result_from_tuple(FORM, gone))
        gone.name = "renamed"
        with pytest.raises(CelerantError, match="no app 'celerant-test-gone' here"):
            pickle.loads(pickled)


def test_a_result_of_no_app_is_not_pickled(memory):
    with pytest.raises(CelerantError, match="belongs to no app"):
        pickle.dumps(AsyncResult("a", memory))
