"""`explain` says of each part of a canvas whether it leaves in a volley."""

from __future__ import annotations

import functools

import celery
import pytest
from celery import chain, chord, group, signature

import celerant.celery
from celerant.celery import explain, install
from celerant.errors import CanvasError
from swapin.conftest import RESULTS


@pytest.fixture
def side(make_app):
    return make_app(backend=RESULTS)


def plain(side, count=3):
    return [side.add.s(i, i) for i in range(count)]


def told(found):
    return [(reason.path, reason.reason) for reason in found.reasons]


def test_a_group_of_tasks_leaves_in_a_volley(side):
    with install():
        found = explain(group(plain(side)), priority=3)
    assert (bool(found), found.is_installed, found.volleyed) == (True, True, 3)
    assert str(found) == "the swap-in is in place; 3 members leave in volleys"


def test_members_are_told_apart_with_their_paths(side):
    inner = group([side.add.s(4, 4), chord(plain(side), side.echo.s())])
    odd = side.add.s(5, 5).set(app_id="a")
    members = [*plain(side), inner, odd, chain(side.add.s(1, 1), side.echo.s())]
    with install():
        found = explain(group(members))
    assert not found
    assert found.volleyed == 5
    assert told(found) == [
        ("group[3][1]", "it is a _chord"),
        ("group[4]", "option 'app_id' is not carried by a volley"),
    ]
    assert "Celery's own path: group[4]: option 'app_id'" in str(found)


def test_explain_agrees_with_the_messages(side, volleys):
    members = [*plain(side), chain(side.add.s(1, 1)), dict(side.add.s(1, 1))]
    with install():
        found = explain(group(members))
        group(members).apply_async()
    assert found.volleyed == sum(volleys) == 3
    assert [path for path, _ in told(found)] == ["group[3]", "group[4]"]


def test_the_header_of_a_chord_is_explained(side):
    with install():
        assert explain(chord(plain(side), side.echo.s()))
        found = explain(chord([*plain(side), chain(side.add.s(1, 1))], side.echo.s()))
    assert told(found) == [
        ("chord.chord_header[3]", "the chain is not one of several tasks")
    ]


def test_explain_looks_at_the_first_step_of_a_chain(side):
    with install():
        assert explain(chain(group(plain(side)), side.echo.s()))
        found = explain(chain(side.add.s(1, 1), group(plain(side)), side.echo.s()))
    ((path, reason),) = told(found)
    assert path == "chain[0]"
    assert "sent by Celery itself" in reason
    assert [note.path for note in found.notes] == ["chain[1]"]


def test_a_task_alone_is_celerys(side):
    with install():
        found = explain(side.add.s(1, 1))
    assert told(found) == [("task", "a single task is sent by Celery itself")]


def test_a_list_is_read_as_members(side):
    with install():
        found = explain([*plain(side), chain(side.add.s(1, 1))])
    assert found.volleyed == 3
    assert [path for path, _ in told(found)] == ["group[3]"]


def test_explain_says_whether_the_swap_in_is_in_place(side):
    found = explain(group(plain(side)))
    assert not found
    assert not found.is_installed
    assert "not in place" in str(found)
    # One of ours needs no installing.
    assert explain(celerant.celery.group(plain(side)))


def test_without_the_swap_in_no_member_leaves_in_a_volley(side):
    install()
    celerant.celery.uninstall()
    found = explain(group(plain(side)))
    assert found.volleyed == 0
    first, second = str(found).splitlines()
    assert first == "the swap-in is not in place; no member leaves in a volley"
    assert "call celerant.celery.install()" in second


def test_explain_names_an_earlier_wrapper(side, monkeypatch):
    original = celery.group.apply_async

    @functools.wraps(original)
    def wrapper(self, *args, **kwargs):
        return original(self, *args, **kwargs)

    monkeypatch.setattr(celery.group, "apply_async", wrapper)
    with install():
        found = explain(group(plain(side)))
        assert not found
        assert "had wrapped group.apply_async before install()" in str(found)


def drawn(side, made):
    """Yield members, and note those that were drawn."""
    for task in plain(side):
        made.append(task)
        yield task


def test_nothing_is_drawn_from_a_generator(side):
    made = []
    with install():
        found = explain(group(drawn(side, made), app=side.app))
    assert not made
    assert found
    assert [note.path for note in found.notes] == ["group"]


def test_the_first_member_of_a_generator_is_not_taken_for_the_whole(side):
    made = []
    with install():
        found = explain(group(drawn(side, made)))
        later = explain(group(drawn(side, made), app=side.app))
    # The first tells the group's app.
    assert len(made) == 1
    assert (found.volleyed, found.is_counted) == (1, False)
    assert str(found).splitlines()[0] == (
        "the swap-in is in place; at least 1 member leaves in a volley"
    )
    assert str(later).splitlines()[0] == (
        "the swap-in is in place; no member that its generator has given so far "
        "leaves in a volley"
    )


def test_one_member_is_told_in_the_singular(side):
    with install():
        found = explain(group(plain(side, 1)))
    assert str(found) == "the swap-in is in place; 1 member leaves in a volley"


def test_callbacks_that_a_group_hands_to_its_members_are_no_reason(side, volleys):
    canvas = group(plain(side)).set(link=side.echo.s())
    with install():
        assert explain(canvas)
        canvas.apply_async()
        found = explain(group(plain(side)), link=side.echo.s())
    assert volleys == [3]
    assert told(found) == [("group", "a group takes no link and no link_error")]


def test_chunks_are_the_group_that_they_become(side):
    with install():
        found = explain(side.add.chunks(iter([(1, 1), (2, 2), (3, 3)]), 2))
    assert found
    assert "what its generator has not given yet" in str(found)


@pytest.mark.parametrize("what", [None, 3, "group", {"task": "add"}, iter([])])
def test_explain_refuses_other_values_than_canvases(what):
    with pytest.raises(CanvasError, match="explain: give a group"):
        explain(what)


def test_tasks_by_name_of_another_app_are_named(side):
    celery.Celery("other", set_as_current=True)
    with install():
        found = explain(group([side.add.s(1, 1), signature("elsewhere")]))
    assert [path for path, _ in told(found)] == ["group[1]"]
    assert "another app" in told(found)[0][1]
