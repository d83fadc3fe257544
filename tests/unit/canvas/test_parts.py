"""The walker yields each part of a canvas once, with its role and its path."""

from __future__ import annotations

import pytest

from celerant import CanvasError, chain, chord, group
from celerant.canvas.kinds import kind_of
from celerant.canvas.parts import Inside, Part, walk


def _found(canvas, path="root", **how):
    return [(part.path, part.role) for part in walk(canvas, path, **how)]


def test_walk_yields_parts_in_order_with_role_and_path(shop):
    inner = chain(shop.add.s(1), group([shop.add.s(2), shop.add.s(3)]))
    canvas = chord([inner, shop.add.s(4)], shop.echo.s())
    assert _found(canvas) == [
        ("root", "root"),
        ("root[0]", "header"),
        ("root[0][0]", "step"),
        ("root[0][1]", "step"),
        ("root[0][1][0]", "member"),
        ("root[0][1][1]", "member"),
        ("root[1]", "header"),
        ("root.chord_body", "body"),
    ]


def test_walk_reads_plain_dicts_and_headers_that_are_groups(shop):
    header = dict(group([shop.add.s(1)]))
    canvas = dict(chord([], shop.echo.s()))
    canvas["kwargs"]["header"] = header
    assert _found(canvas, "chord") == [
        ("chord", "root"),
        ("chord", "header"),
        ("chord[0]", "member"),
        ("chord.chord_body", "body"),
    ]


def test_walk_goes_to_links_only_if_asked(shop):
    canvas = shop.add.s(1)
    canvas.link(chain(shop.add.s(2), shop.add.s(3)))
    canvas.link_error(shop.add.s(4))
    assert _found(canvas, "") == [("", "root")]
    assert _found(canvas, "", links=True)[1:] == [
        ("link[0]", "link"),
        ("link[0][0]", "step"),
        ("link[0][1]", "step"),
        ("link_error[0]", "errback"),
    ]


def test_walk_meets_each_canvas_once_however_deep_and_round(shop):
    made = shop.add.s(1)
    for _ in range(20_000):
        made = group([made])
    made.tasks.append(made)
    assert sum(1 for _ in walk(made)) == 20_001


def test_walk_passes_over_generators_unless_it_holds_them(shop):
    canvas = group(shop.add.s(i, i) for i in range(2))
    assert len(_found(canvas)) == 1
    assert len(_found(canvas, hold=True)) == 3
    assert len(canvas) == 2


def test_parts_that_run_first_begin_the_canvas(shop):
    lead = chain(shop.add.s(1), shop.add.s(2))
    canvas = chord([lead, group([shop.add.s(3)])], shop.echo.s())
    begins = [part.path for part in walk(canvas) if part.begins]
    assert begins == ["", "[0]", "[0][0]", "[1]", "[1][0]"]


def test_inside_names_the_path_of_a_circle(shop):
    canvas = group([shop.add.s(1)])
    canvas.add(canvas)
    inside, root = Inside(), Part(canvas, "root", "group", None, None)
    inside.enter(root)
    with pytest.raises(CanvasError, match="contains itself") as caught:
        inside.enter(Part(canvas, "member", "tasks", 1, root))
    assert caught.value.path == "group[1]"


@pytest.mark.parametrize("kind", ["x", ["group"], {}, 3, None])
def test_a_canvas_of_an_unknown_kind_is_a_task(kind):
    assert kind_of({"subtask_type": kind}).name is None
    assert kind_of(kind).name is None
