"""The children of a task that sends canvases are those of Celery's tasks."""

from __future__ import annotations

import pytest

from celerant import GroupResult, chain, chord, group
from harness.until import until

#: A canvas, and the values of the child that Celery 5.7 notes and of all behind it, as
#: `collect` gives them.
SENT = {
    "a task": (lambda s, _t: s("a"), "a"),
    "a chain": (lambda s, _t: s("a") | s("b") | s("c"), "abc"),
    "a chain in a chain": (lambda s, _t: chain(chain(s("a"), s("b")), s("c")), "abc"),
    "a chain that ends in a group": (
        lambda s, _t: chain(s("a"), group(s("b"), s("c"))),
        "abc",
    ),
    "a group": (lambda s, _t: group(s("a"), s("b")), "ab"),
    "a group of chains": (lambda s, _t: group(s("a") | s("b"), s("c")), "bc"),
    "a group of a chain": (
        lambda s, _t: group([s("a") | group(s("b"), s("c"))]),
        "bc",
    ),
    "a chord": (lambda s, t: chord([s("a"), s("b")], t), "ab"),
    "a chord, then a step": (lambda s, t: group(s("a"), s("b")) | t | s("e"), "ab"),
    "a chord in a chain": (lambda s, t: s("a") | group(s("b"), s("c")) | t, "abc"),
    "a chord without a header": (lambda _s, t: chord([], t), "t"),
}


@pytest.mark.parametrize("sent", SENT)
def test_the_first_of_a_canvas_is_the_child(app, sent):
    make, expected = SENT[sent]

    @app.task(name="step")
    def step(*values):
        return values[-1]

    @app.task(name="total")
    def total(_values):
        return "t"

    @app.task(name="sends")
    def sends():
        make(step.s, total.s()).apply_async()

    with app.worker(concurrency=1):
        result = sends.delay()
        result.get(timeout=10)
        until(lambda: "".join(_collected(result)) == expected)
        assert len(result.children) == 1


def _collected(result):
    found = result.collect()
    values = [value for one, value in found if not isinstance(one, GroupResult)]
    return values[1:]
