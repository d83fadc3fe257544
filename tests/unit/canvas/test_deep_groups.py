"""Groups nested deeper than Python recurses, and groups that hold each other."""

from __future__ import annotations

import copy
import pickle

import pytest

from celerant import group
from celerant.canvas.signature import Signature
from celerant.errors import CanvasError
from harness.tasks import define_tasks

DEPTH = 10_000

COPIES = {
    "clone": lambda canvas: canvas.clone(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda canvas: pickle.loads(pickle.dumps(canvas)),
}
copied = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


@pytest.fixture
def shop(app):
    tasks = define_tasks(app)
    tasks.app = app
    return tasks


def _nested(member, depth=DEPTH):
    for _ in range(depth):
        member = group([member])
    return member


def _innermost(canvas):
    depth = 0
    while isinstance(canvas, group):
        (canvas,) = canvas.tasks
        depth += 1
    return canvas, depth


def _circle(shop):
    outer = group([shop.add.s(1, 2)])
    outer.add(group([shop.echo.s(3), outer]))
    return outer


@copied
def test_a_deep_group_is_copied_whole(shop, copied):
    made = _nested(shop.add.s(1, 2))
    again = copied(made)
    leaf, depth = _innermost(again)
    assert depth == DEPTH
    assert leaf == shop.add.s(1, 2)
    # None of its parts is the original's.
    leaf.set(priority=3)
    assert _innermost(made)[0].options == {}


def test_deep_groups_are_compared_to_the_bottom(shop):
    made = _nested(shop.add.s(1, 2))
    assert made == _nested(shop.add.s(1, 2))
    assert made != _nested(shop.add.s(1, 3))
    assert made != _nested(shop.add.s(1, 2), DEPTH - 1)


def test_a_deep_group_is_shown_in_short(shop):
    assert repr(_nested(shop.add.s(1, 2))) == "group([" * 5 + "...])" + "])" * 4
    wide = group([_nested(shop.add.s(1, 2), 2)] * 9)
    assert repr(wide).count("celerant_test.add(1, 2)") == 3


def test_arguments_reach_the_bottom_of_a_deep_group(shop):
    again = _nested(shop.echo.s(2)).clone((1,), {"k": 3})
    assert _innermost(again)[0] == shop.echo.s(1, 2, k=3)


def test_a_deep_group_becomes_immutable_at_the_bottom(shop):
    made = _nested(shop.echo.s(2))
    made.set(immutable=True)
    assert _innermost(made)[0].immutable


@copied
def test_a_circle_stays_a_circle(shop, copied):
    again = copied(_circle(shop))
    first, inner = again.tasks
    assert first == shop.add.s(1, 2)
    assert inner.tasks[1] is again
    with pytest.raises(CanvasError, match="cycle") as caught:
        again.apply_async()
    assert caught.value.path == "group[1][1]"


def test_circles_are_compared_and_shown(shop):
    made = _circle(shop)
    assert made == _circle(shop)
    other = _circle(shop)
    other.tasks[1].tasks[0].set(priority=1)
    assert made != other
    assert repr(made) == (
        "group([celerant_test.add(1, 2), group([celerant_test.echo(3), ...])])"
    )


def test_a_circle_through_arguments_is_shown(shop):
    made = group([shop.echo.s()])
    made.tasks[0]["args"] = (made,)
    assert repr(made) == "group([celerant_test.echo(...)])"


def test_a_group_in_two_places_is_pickled_once_and_copied_as_one(shop):
    made = group([shop.add.s(1, 2)])
    for _ in range(40):
        # 2^40 members, were it taken apart.
        made = group([made, made])
    again = pickle.loads(pickle.dumps(made))
    assert again.tasks[0] is again.tasks[1]
    assert again == made


def test_a_pickled_group_keeps_options_ids_and_kinds(shop):
    made = group([shop.echo.s(1), group.map(shop.echo, [2])], priority=3)
    made.add(group([dict(shop.echo.s(4)), shop.echo.s(5)], queue="q"))
    made.freeze()
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert again.options == made.options
    assert again.freeze().roster.own() == {}
    assert all(type(member) is Signature for member in again.tasks)


def test_a_deep_copy_shares_no_argument(shop):
    argument = [1]
    made = group([group([shop.echo.s(argument)])])
    again = copy.deepcopy(made)
    argument.append(2)
    assert again.tasks[0].tasks[0].args == ([1],)


def test_equal_are_groups_of_equal_members_in_whatever_form(shop):
    first, second = shop.add.s(1, 2), shop.add.s(3, 4)
    made = group([first, second])
    assert made == group(first, second)
    assert made == group((first, second))
    # dict has a `__ne__` of its own, for which a tuple is no list.
    assert (made != group(first, second)) is False
    assert dict(made) == made
    assert group([made]) == group([dict(made)])
    assert made != group([second, first])
    assert made != group([first])
    assert made != group([first, second], priority=3)
    assert made != first
    assert made != "group"


def test_comparing_consumes_no_generator(shop):
    streamed = group(shop.add.s(i, i) for i in range(2))
    assert streamed == group(streamed)
    assert streamed != group(shop.add.s(i, i) for i in range(2))
    assert len(streamed) == 2


def test_a_member_that_came_late_and_is_none_is_found_by_its_path(shop):
    late = []
    made = group([shop.add.s(1, 2), _nested(group(late), 20)])
    late.append(3)
    with pytest.raises(CanvasError, match="not int") as caught:
        made.clone()
    assert caught.value.path.startswith("group[1][0]")
    assert " levels ... " in caught.value.path
    with pytest.raises(CanvasError, match="no list of tasks") as caught:
        group([shop.add.s(1, 2), {"subtask_type": "group", "task": "x"}]).clone()
    assert caught.value.path == "group[1]"
