"""Results in SQLAlchemy's tables: one SELECT per thousand members."""

from __future__ import annotations

import pytest
from celery import group, states

import celerant.celery

pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, event

SETTINGS = [{}, {"result_extended": True}, {"result_serializer": "pickle"}]


@pytest.fixture(params=SETTINGS, ids=["plain", "extended", "pickle"])
def side(request, make_app, tmp_path):
    url = f"db+sqlite:///{tmp_path}/results.sqlite"
    side = make_app(backend=url, accept_content=["json", "pickle"], **request.param)
    celerant.celery.install()
    return side


@pytest.fixture
def statements():
    """The statements that the database gets from here on."""
    seen = []

    def note(_connection, _cursor, statement, *more):
        if "celery_taskmeta" in statement and "PRAGMA" not in statement:
            seen.append(statement)

    # Celery makes engines as it goes.
    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def finish(side, ids, state=states.SUCCESS, value=None):
    """Store results as workers do."""
    for task_id in ids:
        said = {"of": task_id} if value is None else value
        side.app.backend.store_result(task_id, said, state, traceback="tb")


def test_looking_costs_one_select_per_thousand(side, statements, volleys):
    result = group(side.add.s(i, i) for i in range(1500)).apply_async()
    assert volleys
    ids = [one.id for one in result]
    finish(side, ids[:30])
    statements.clear()
    assert not result.ready()
    assert len(statements) == 2
    assert result.waiting()
    assert result.completed_count() == 30
    assert (result.successful(), result.failed()) == (False, False)
    assert len(statements) == 2 * 5
    finish(side, ids[30:32], states.FAILURE, KeyError("k"))
    finish(side, ids[32:33], states.STARTED)
    statements.clear()
    assert result.failed()
    assert result.completed_count() == 30
    assert len(statements) == 2 * 2


def test_bulk_reads_give_the_values_that_celery_reads(side, statements):
    result = group(side.add.s(i, i) for i in range(4)).apply_async()
    ids = [one.id for one in result]
    finish(side, ids[:2])
    finish(side, ids[2:3], states.FAILURE, KeyError("k"))
    finish(side, ids[3:], states.REVOKED, ValueError("v"))
    statements.clear()
    assert result.ready()
    assert len(statements) == 1
    for one in result:
        theirs = side.app.AsyncResult(one.id)
        assert repr(theirs._get_task_meta()) == repr(one._cache)
        assert type(one.result) is type(theirs.result)
        assert one.date_done == theirs.date_done
    with pytest.raises(KeyError, match="k"):
        result.get(timeout=10)
    assert result.get(timeout=10, propagate=False)[:2] == [{"of": i} for i in ids[:2]]


def test_a_table_that_is_refused_is_celerys_matter(side, monkeypatch):
    result = group(side.add.s(i, i) for i in range(2)).apply_async()
    finish(side, [one.id for one in result])
    sessions = []
    session = side.app.backend.ResultSession

    def refused_once(*args):
        sessions.append(args)
        made = session(*args)
        if len(sessions) == 1:
            made.close()
            made.bind = None
        return made

    monkeypatch.setattr(side.app.backend, "ResultSession", refused_once)
    assert result.ready()
    assert len(sessions) == 3
    assert result.get(timeout=10) == [{"of": one.id} for one in result]


def test_a_backend_of_somebodys_own_is_asked_for_each(side, statements):
    cls = type(side.app.backend)
    asked = []

    class Own(cls):
        def _get_task_meta_for(self, task_id):
            asked.append(task_id)
            return super()._get_task_meta_for(task_id)

    side.app.backend.__class__ = Own
    result = group(side.add.s(i, i) for i in range(3)).apply_async()
    ids = [one.id for one in result]
    finish(side, ids)
    assert result.completed_count() == 3
    assert asked == ids
