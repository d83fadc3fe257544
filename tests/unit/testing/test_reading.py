from __future__ import annotations

from celerant import chord, group
from celerant.testing import text_of


def test_a_canvas_is_a_line_for_each_task(shop):
    add, total = shop.add, shop.echo
    canvas = group([add.s(1, 2).set(queue="far"), chord([add.si(1, 1)], total.s())])
    canvas.freeze()
    assert text_of(canvas).splitlines() == [
        "group",
        f"  {add.name}(1, 2) [queue='far']",
        "  chord",
        f"    header: {add.name}(1, 1) immutable",
        f"    body: {total.name}()",
    ]


def test_a_long_group_is_cut_and_a_generator_is_not_read(shop):
    lines = text_of(group([shop.add.s(i) for i in range(500)])).splitlines()
    assert len(lines) == 202
    assert lines[-1] == "  ... 300 more"
    source = (shop.add.s(i) for i in range(3))
    assert "stream" in text_of(group(source))
    assert len(list(source)) == 3


def test_links_are_shown(shop):
    one = shop.add.s(1, 1)
    one.link(shop.echo.s())
    assert text_of(one).splitlines() == [
        f"{shop.add.name}(1, 1)",
        f"  link: {shop.echo.name}()",
    ]
