"""Groups that run in place."""

from __future__ import annotations

import pytest

from celerant import group
from celerant.errors import EncodeError, SettingError
from harness.tasks import define_tasks


@pytest.fixture
def shop(app):
    tasks = define_tasks(app)
    tasks.app = app
    tasks.ran = []

    @app.task(name="celerant_test.note")
    def note(value):
        tasks.ran.append(value)
        return value

    tasks.note = note
    return tasks


@pytest.fixture(params=["apply", "task_always_eager"])
def run(request, shop):
    def run(members, *args, **options):
        if request.param == "apply":
            return members.apply(*args, **options)
        shop.app.conf.task_always_eager = True
        return members.apply_async(*args, **options)

    return run


def test_members_run_in_order_and_results_are_there(shop, run):
    result = run(group([shop.note.s(1), group.map(shop.note, iter([2, 3]))]))
    assert shop.ran == [1, 2, 3]
    assert result.get(timeout=0) == [1, 2, 3]
    assert result.ready()
    assert result.successful()


def test_a_failure_is_in_its_place(shop, run):
    result = run(group([shop.note.s(1), shop.fail.s("no"), shop.note.s(2)]))
    first, error, last = result.get(propagate=False)
    assert (first, last) == (1, 2)
    assert isinstance(error, ValueError)
    with pytest.raises(ValueError, match="no"):
        result.get()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lambda shop: shop.add.s(1), TypeError),
        (lambda shop: shop.app.signature("celerant_test.elsewhere"), LookupError),
        (lambda shop: shop.add.s(1, 2).set(countdwn=1), SettingError),
    ],
)
def test_nothing_runs_if_one_member_is_wrong(shop, run, bad, error):
    with pytest.raises(error, match=r"group\[1\]"):
        run(group([shop.note.s(1), bad(shop)]))
    assert shop.ran == []


def test_a_frozen_group_and_its_members_keep_their_ids_in_place(shop, run):
    members = group([shop.note.s(1), shop.note.s(2).set(task_id="mine")])
    frozen = members.freeze()
    result = run(members)
    assert [m.id for m in result] == [m.id for m in frozen]
    assert result.id == frozen.id
    assert result[1].id == "mine"


def test_partial_arguments(shop, run):
    result = run(group([shop.echo.s(1), shop.echo.si(2)]), (0,), {"k": 3})
    assert result.get() == [[[0, 1], {"k": 3}], [[2], {}]]


def test_always_eager_refuses_values_that_the_serializer_refuses(shop):
    shop.app.conf.task_always_eager = True
    with pytest.raises(EncodeError) as caught:
        group([shop.note.s(1), shop.note.s(object())]).apply_async()
    assert caught.value.path == "group[1]"


def test_an_error_propagates_if_the_settings_say_so(shop, run):
    shop.app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no"):
        run(group([shop.note.s(1), shop.fail.s("no"), shop.note.s(2)]))
    assert shop.ran == [1]
