"""Errors name the member of a group that failed."""

from __future__ import annotations

import sys
import traceback

import pytest

from celerant import chain, group

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="exceptions have notes from Python 3.11 on"
)


@pytest.fixture
def tasks(app):
    app.conf.result_extended = True

    @app.task(name="shop.fail")
    def fail(what):
        raise KeyError(what)

    @app.task(name="shop.ok")
    def ok(value=None):
        return value

    with app.worker(concurrency=1):
        yield fail, ok


def note_of(result):
    with pytest.raises(KeyError) as caught:
        result.get(timeout=10)
    assert len(caught.value.__notes__) == 1
    [note] = caught.value.__notes__
    assert note in "".join(traceback.format_exception(caught.value))
    return note


def test_exception_of_a_member_names_its_place_id_and_task(tasks):
    fail, ok = tasks
    result = group([ok.s(), ok.s(), fail.s("x")]).apply_async()
    failed = result[2]
    assert note_of(result) == f"raised by group[2], task {failed.id} (shop.fail)"
    # The same exception again: no second note.
    assert note_of(failed) == f"raised by group[2], task {failed.id} (shop.fail)"


def test_exception_of_a_member_of_a_nested_group_names_its_path(tasks):
    fail, ok = tasks
    result = group([ok.s(), chain(ok.s(), group([ok.si(), fail.si("x")]))])()
    failed = result[1][1]
    assert note_of(result) == f"raised by group[1][1], task {failed.id} (shop.fail)"


def test_exception_of_a_lone_task_names_its_id(tasks):
    fail, _ = tasks
    result = fail.delay("x")
    assert note_of(result) == f"raised by task {result.id} (shop.fail)"


def test_task_is_not_named_if_the_record_does_not_name_it(app):
    @app.task
    def fail():
        raise KeyError

    with app.worker(concurrency=1):
        result = fail.delay()
        assert note_of(result) == f"raised by task {result.id}"


def test_members_know_their_index(tasks):
    _, ok = tasks
    result = group([ok.s(1), chain(ok.s(), group([ok.si(2), ok.si(3)])), ok.s(4)])()
    assert result.get(timeout=10) == [1, [2, 3], 4]
    assert [member.index for member in result] == [0, 1, 2]
    assert [member.index for member in result[1]] == [0, 1]
    assert (result.index, result[0].index) == (None, 0)
    assert ok.delay().index is None
    followed = chain(ok.s(), ok.s()).apply_async()
    assert (followed.index, followed.parent.index) == (None, None)
