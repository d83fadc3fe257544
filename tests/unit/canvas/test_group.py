"""Groups as data: sharing with the caller, and copies."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from kombu.utils.json import dumps

from celerant import Celerant, Signature, chain, chord, group
from celerant.errors import CanvasError
from harness.capture import drain


def _args(shop):
    sent = drain("memory://", shop.app.conf.task_default_queue)
    return [message.headers["argsrepr"] for message in sent]


def test_adding_leaves_the_callers_list_alone(shop):
    given = [shop.add.s(1, 2)]
    members = group(given)
    other = group(members)
    members.add(shop.add.s(3, 4))
    members.add(shop.add.s(5, 6))
    assert (len(given), len(members), len(other)) == (1, 3, 1)


def test_add_extends_tuples_generators_and_maps(shop):
    for made in (
        group(shop.add.s(1, 1), shop.add.s(2, 2)),
        group(shop.add.s(i, i) for i in (1, 2)),
        group.starmap(shop.add, [(1, 1), (2, 2)]),
        group.starmap(shop.add, ((i, i) for i in (1, 2))),
    ):
        made.add(shop.add.s(3, 3))
        made.apply_async()
        assert _args(shop) == ["(1, 1)", "(2, 2)", "(3, 3)"]


@pytest.mark.parametrize("items", [[1, 2], (1, 2), range(1, 3), {1: 0, 2: 0}.keys()])
def test_map_takes_any_iterable(shop, items):
    group.map(shop.echo, items).apply_async()
    assert _args(shop) == ["(1,)", "(2,)"]


def test_starmap_takes_any_iterable_of_arguments(shop):
    group.starmap(shop.echo, [(1, 2), [3], iter([4]), "ab", ()]).apply_async()
    assert _args(shop) == ["(1, 2)", "(3,)", "(4,)", "('a', 'b')", "()"]


@pytest.mark.parametrize("items", [[1, 2], (1, 2), range(1, 3)])
def test_a_map_of_a_list_can_be_sent_again_and_one_of_a_generator_not(shop, items):
    held = group.map(shop.echo, items)
    held.apply_async()
    held.apply_async()
    assert len(_args(shop)) == 4
    streamed = group.map(shop.echo, iter([1, 2]))
    streamed.apply_async()
    with pytest.raises(CanvasError, match="generator"):
        streamed.apply_async()


def test_maps_inside_groups_inside_generators_are_flattened(shop):
    inner = group.map(shop.echo, [1, 2])
    outer = group(g for g in (inner, group([inner, shop.echo.s(9)]), inner))
    result = outer.apply_async()
    assert len(result) == 7
    assert _args(shop) == [f"({i},)" for i in (1, 2, 1, 2, 9, 1, 2)]


def test_arguments_of_the_call_go_before_those_of_members_but_immutable_ones(shop):
    members = [shop.echo.s(1, k=1), shop.echo.si(2), dict(shop.echo.s(3))]
    group([*members, group.map(shop.echo, [4])]).apply_async((0,), {"k": 5})
    assert _args(shop) == ["(0, 1)", "(2,)", "(0, 3)", "(0, 4)"]


def test_a_nested_group_is_pickled_with_its_members(shop):
    made = group([shop.echo.s(1), group.map(shop.echo, [2, 3])])
    again = pickle.loads(pickle.dumps(made))
    again.apply_async()
    assert _args(shop) == ["(1,)", "(2,)", "(3,)"]


def test_cloning_refuses_a_member_that_is_no_signature(shop):
    with pytest.raises(CanvasError, match=r"group\[1\]") as caught:
        group([shop.add.s(1, 2), 3]).clone()
    assert caught.value.path == "group[1]"


def test_a_clone_shares_nothing_with_its_original(shop):
    made = group([shop.echo.s([1])], headers={"a": [1]})
    cloned = made.clone()
    cloned.options["headers"]["a"].append(2)
    cloned.tasks[0].set(priority=3)
    cloned.add(shop.echo.s(2))
    assert made.options == {"headers": {"a": [1]}}
    assert made.tasks[0].options == {}
    assert len(made) == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_stays_with_its_app(shop, copied):
    with Celerant("celerant-t1-made-later"):
        for canvas in (shop.add.s(1, 2), group([shop.add.s(1, 2)], app=shop.app)):
            assert copied(canvas).app is shop.app


def test_the_representation_of_a_group_in_itself_ends(shop):
    made = group([shop.echo.s(1)])
    made.add(made)
    assert repr(made) == "group([celerant_test.echo(1), ...])"


def from_generator(members):
    return group(member for member in members)


def by_map(members):
    return group.map("echo", [member.args[0] for member in members])


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("form", [from_generator, by_map])
def test_a_generator_in_a_chain_is_the_same_as_its_list(form, count):
    members = [Signature("echo", (i,)) for i in range(count)]
    after = Signature("after")
    listed, drawn = chain(group(members), after), chain(form(members), after)
    assert type(drawn) is type(listed)
    assert dumps(drawn) == dumps(listed)
    drawn, listed = chain(after, form(members)), chain(after, group(members))
    assert dumps(drawn) == dumps(listed)
    assert bool(form(members)) is bool(group(members))


def test_a_chain_looks_at_two_members_of_a_generator():
    drawn = []

    def members():
        for i in range(5):
            drawn.append(i)
            yield Signature("echo", (i,))

    made = chain(group(members()), Signature("after"))
    assert drawn == [0, 1]
    assert len(made.tasks) == 5


def test_a_generator_that_raises_when_it_is_looked_at_raises_when_it_is_sent():
    def members():
        yield Signature("echo", (0,))
        raise ZeroDivisionError

    made = group(members())
    with pytest.raises(ZeroDivisionError):
        chain(made, Signature("after"))
    with pytest.raises(ZeroDivisionError):
        _ = made.tasks


def test_a_chain_names_a_bad_member_of_its_group():
    with pytest.raises(CanvasError, match=r"group\[0\].*not int"):
        chain(group(i for i in range(1)), Signature("after"))


def test_linking_leaves_the_callers_list_and_dicts_alone(shop):
    given = [json.loads(json.dumps(shop.echo.s(i))) for i in (1, 2)]
    before = json.loads(json.dumps(given))
    group(given).link(shop.echo.s(3))
    group(given).link_error(shop.echo.s(3))
    group(given).set_immutable(True)
    chord(given, shop.echo.s()).set_immutable(True)
    assert given == before


def test_a_member_that_is_no_canvas_is_refused_by_its_place(shop):
    made = group(member for member in [shop.echo.s(1), 5])
    with pytest.raises(CanvasError, match=r"group\[1\]: a member must be"):
        made.link_error(shop.echo.s(3))
    with pytest.raises(CanvasError, match=r"group\[1\]: a member must be"):
        made.set_immutable(True)
