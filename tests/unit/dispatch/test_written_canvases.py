"""Messages of chains and chords: what the core writes, Python would write alike."""

from __future__ import annotations

import json
import re

import pytest

from celerant import chain, chord, group
from celerant.dispatch.blueprints import Blueprints
from harness.capture import drain

#: The core leaves a message to Python in which a number takes more than 64 bits.
SMALL, BIG = 7_654_321, 10**30

CANVASES = {
    "a chain": lambda s, x: chain(s.echo.s(1, x), s.echo.s("é", k=1.5), s.echo.si()),
    "a later step": lambda s, x: chain(s.echo.s(1), s.echo.s({"x": [x, None]})),
    "chains in a group": lambda s, x: group(
        [chain(s.echo.s(i), s.echo.s(k=x), s.echo.s(y=False)) for i in range(3)]
    ),
    "a chord in a group": lambda s, x: group(
        [chord([s.echo.s(x), s.echo.s(2)], chain(s.echo.s(k=2), s.echo.s()))]
    ),
    "the body of a header": lambda s, x: chain(
        s.echo.s(), group([s.echo.s(1), s.echo.s(2)]), s.echo.s(x)
    ),
    "a chain of chords": lambda s, x: chain(
        group([s.echo.s(1), s.echo.s(x)]), group([s.echo.s(2), s.echo.s(3)]), s.echo.s()
    ),
    "options": lambda s, x: group(
        [
            chain(
                s.echo.s(x).set(priority=3, headers={"h": [1]}),
                s.echo.s().set(countdown=5, link_error=s.echo.s("e")),
            ).set(link=s.echo.s("l"), link_error=[s.echo.s("f")])
        ]
    ),
}


def _sent(shop, canvas):
    """Return headers and bodies, with each id named by when it was first met."""
    canvas.apply_async()
    messages = drain("memory://", shop.app.conf.task_default_queue)
    told = [[json.dumps(m.headers), m.body.decode()] for m in messages]
    text = json.dumps(told).replace(str(BIG), str(SMALL))
    ids: dict[str, int] = {}
    name = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    return name.sub(lambda found: f"id {ids.setdefault(found[0], len(ids))}", text)


@pytest.mark.parametrize("name", CANVASES)
def test_core_writes_what_python_writes(shop, name):
    written, encoded = (_sent(shop, CANVASES[name](shop, x)) for x in (SMALL, BIG))
    assert str(SMALL) in written
    assert written == encoded


def test_header_inside_a_group_is_drawn_once(shop, monkeypatch):
    drawn, draw = [], Blueprints.draw

    def counted(self, *of_member):
        drawn.append(of_member)
        return draw(self, *of_member)

    monkeypatch.setattr(Blueprints, "draw", counted)
    group([chord([shop.echo.s(i) for i in range(50)], shop.echo.s())]).apply_async()
    messages = drain("memory://", shop.app.conf.task_default_queue)
    assert [m.headers["group_index"] for m in messages] == list(range(50))
    assert len({m.headers["group"] for m in messages}) == 1
    assert len(drawn) == 1


def test_chain_is_ignored_where_its_last_task_is(shop):
    kept = chain(shop.echo.s(1), shop.echo.s())
    lost = chain(shop.echo.s(1), shop.ignored.s())
    result = group([kept, lost, kept, lost, lost]).apply_async()
    assert result.counts()["IGNORED"] == 3
