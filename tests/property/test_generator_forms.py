"""A canvas of generators is the same as the canvas of their lists."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given

import celerant
from harness.canvases import NAMES, build, calls, recipes
from harness.capture import drain
from harness.oracle import comparable


@pytest.fixture(scope="module")
def side():
    with celerant.Celerant("celerant-test-forms", broker="memory://") as app:
        app.conf.task_default_queue = "celerant-oracle-forms"

        def anything(*args, **kwargs):
            return [args, kwargs]

        tasks = {name: app.task(name=name)(anything) for name in NAMES}
        yield SimpleNamespace(
            app=app,
            tasks=tasks,
            group=celerant.group,
            chain=celerant.chain,
            chord=celerant.chord,
            visitor=celerant.StampingVisitor,
            flat=False,
        )


def drawn(side):
    """Return a library whose groups and headers are made of generators."""
    made = SimpleNamespace(**vars(side))
    made.group = lambda parts: celerant.group(part for part in parts)
    made.chord = lambda header, body: celerant.chord((part for part in header), body)
    return made


def outcome(work, url, queue):
    try:
        found = work()
    except (celerant.CelerantError, TypeError) as exc:
        # A generator's bad member is found when others may have left.
        drain(url, queue)
        return type(exc)
    tree = None if found is None else found.as_tuple()
    return comparable(drain(url, queue), tree)


def values(canvas, call):
    """Run a canvas here; return its outcome, without ids."""
    ran = canvas.apply(call.args, dict(call.kwargs))
    return SimpleNamespace(as_tuple=lambda: repr(ran.get(timeout=5)))


WAYS = {
    "run in place": values,
    "sent": lambda canvas, call: canvas.apply_async(
        call.args, dict(call.kwargs), **call.options
    ),
    "frozen": lambda canvas, _call: (canvas.freeze(), canvas.apply_async())[1],
    "cloned": lambda canvas, call: canvas.clone(call.args).apply_async(),
    "piped": lambda canvas, _call: (canvas | canvas.app.signature("one")).apply_async(),
    "piped to": lambda canvas, _call: (
        canvas.app.signature("one") | canvas
    ).apply_async(),
    "in a group": lambda canvas, _call: celerant.group([canvas]).apply_async(),
    "as a body": lambda canvas, _call: celerant.chord(
        [canvas.app.signature("one")], canvas
    ).apply_async(),
}


@pytest.mark.parametrize("way", WAYS)
@given(recipe=recipes(max_nodes=12, stamped=False), call=calls())
def test_a_generator_sends_the_messages_of_a_list(side, way, recipe, call):
    found = []
    for lib in (side, drawn(side)):

        def work(lib=lib):
            return WAYS[way](build(recipe, lib), call)

        found.append(outcome(work, "memory://", "celerant-oracle-forms"))
    assert found[1] == found[0]
