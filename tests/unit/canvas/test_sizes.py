"""Deep and wide canvases: messages grow with them, and they run to the end."""

from __future__ import annotations

import inspect
import sys
import uuid

import pytest

from celerant import CanvasError, Celerant, chain, chord, group
from celerant.canvas import chain as chains
from celerant.canvas import composing
from celerant.canvas.data import maybe_signature
from celerant.canvas.signature import Signature
from harness.capture import drain

pytestmark = pytest.mark.timeout(120)
WAIT = 100


@pytest.fixture
def shop():
    """An app with tasks whose values stay small."""
    # A queue of its own: what another test leaves would be counted.
    with Celerant(f"celerant-test-sizes-{uuid.uuid4().hex[:8]}") as app:

        @app.task(name="sizes.more")
        def more(number, step=1):
            return number + step

        @app.task(name="sizes.one")
        def one(_before=None):
            return 1

        @app.task(name="sizes.total")
        def total(values):
            return sum(values)

        app.more, app.one, app.total = more, one, total
        yield app


def chain_of(shop, n):
    return chain(shop.more.s(0), *[shop.more.s() for _ in range(n - 1)])


def chord_of(shop, n):
    return chord([shop.one.s() for _ in range(n)], shop.total.s())


def chords_as_bodies(shop, n):
    canvas = shop.total.s()
    for _ in range(n):
        canvas = chord([shop.one.s(), shop.one.s()], canvas)
    return canvas


def groups_and_tasks(shop, n):
    stage = [group(shop.one.s(), shop.one.s()), shop.total.s()]
    return chain(stage * n)


def groups_in_a_row(shop, n):
    return chain([group(shop.one.s(), shop.one.s()) for _ in range(n)])


def groups_in_groups(shop, n):
    canvas = shop.one.s()
    for _ in range(n):
        canvas = group(canvas, shop.one.s())
    return canvas


def chords_in_headers(shop, n):
    canvas = shop.one.s()
    for _ in range(n):
        canvas = chord([canvas, shop.one.s()], shop.total.s())
    return canvas


def chains_in_groups(shop, n):
    canvas = shop.one.s()
    for _ in range(n):
        canvas = group(chain(shop.one.s(), canvas), shop.one.s())
    return canvas


def sizes(shop, canvas):
    """Send a canvas; return the lengths of its messages' bodies."""
    canvas.apply_async()
    return [len(m.body) for m in drain("memory://", shop.conf.task_default_queue)]


@pytest.mark.parametrize(
    "make",
    [
        chain_of,
        chord_of,
        chords_as_bodies,
        groups_and_tasks,
        groups_in_a_row,
        groups_in_groups,
        chains_in_groups,
    ],
)
def test_bytes_sent_grow_linearly(shop, make):
    small, middle, large = (sum(sizes(shop, make(shop, n))) for n in (30, 60, 120))
    assert (large - middle) == pytest.approx(2 * (middle - small), rel=0.02)


def test_chords_in_headers_send_one_body_for_each_that_contains_a_task(shop):
    """By the protocol: a message has the bodies of all chords that it is a part of."""
    found = [sizes(shop, chords_in_headers(shop, n)) for n in (30, 60, 120)]
    assert [len(messages) for messages in found] == [31, 61, 121]
    small, middle, large = map(max, found)
    assert (large - middle) == pytest.approx(2 * (middle - small), rel=0.02)


def test_each_step_is_copied_once_however_many_there_are(shop, monkeypatch):
    copied = []
    clone = Signature.clone

    def counting(self, *args, **kwargs):
        copied.append(self)
        return clone(self, *args, **kwargs)

    monkeypatch.setattr(Signature, "clone", counting)
    counts = []
    for n in (20, 40):
        groups_and_tasks(shop, n)
        counts.append(len(copied))
        copied.clear()
    assert counts[1] <= 2 * counts[0] + 10


@pytest.mark.parametrize(
    "longer",
    [
        lambda shop, n: chain_of(shop, n) | chain_of(shop, n),
        lambda shop, n: chain(
            group(shop.one.s(), shop.one.s()), *chain_of(shop, n).tasks
        ),
        lambda shop, n: chain(chord_of(shop, 2), *[shop.more.s()] * n),
    ],
    ids=["chain, chain", "group, steps", "chord, steps"],
)
def test_a_chain_that_grows_looks_at_each_step_a_few_times(shop, longer, monkeypatch):
    looks = []

    def counting(*args, **kwargs):
        looks.append(args)
        return maybe_signature(*args, **kwargs)

    for module in (chains, composing):
        monkeypatch.setattr(module, "maybe_signature", counting)
    counts = []
    for n in (50, 100):
        longer(shop, n)
        counts.append(len(looks))
        looks.clear()
    assert counts[1] <= 2 * counts[0] + 10


@pytest.fixture
def few_frames():
    """Let Python recurse less than usual; returns a function that sets the limit."""
    before = sys.getrecursionlimit()
    yield lambda: sys.setrecursionlimit(len(inspect.stack()) + 120)
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    "longer",
    [
        lambda shop, _long: groups_and_tasks(shop, 100),
        lambda shop, long: long | shop.one.s(),
    ],
    ids=["chain", "|"],
)
def test_more_chords_in_a_row_than_python_recurses_are_refused(
    shop, few_frames, longer
):
    long = groups_and_tasks(shop, 100)
    few_frames()
    with pytest.raises(CanvasError, match="nest too deep; let a task send the rest"):
        longer(shop, long)


@pytest.mark.parametrize(
    ("make", "size", "limit"),
    [
        (chords_as_bodies, 300, 256),
        (groups_in_a_row, 300, 256),
        (chords_in_headers, 300, 256),
        (chains_in_groups, 200, 256),
        (chords_in_headers, 3_000, 1024),
        (chains_in_groups, 600, 1024),
    ],
)
def test_more_than_a_message_takes_is_refused(shop, make, size, limit):
    canvas = make(shop, size)
    with pytest.raises(CanvasError, match=f"nested deeper than {limit}") as caught:
        canvas.apply_async()
    assert len(str(caught.value)) < 400
    assert drain("memory://", shop.conf.task_default_queue) == []


def test_more_than_python_recurses_is_not_frozen(shop):
    with pytest.raises(CanvasError, match="nested too deep to be frozen"):
        groups_and_tasks(shop, 200).freeze()


@pytest.mark.parametrize(
    ("make", "size", "value"),
    [
        (chain_of, 1_000, 1_000),
        (chord_of, 10_000, 10_000),
        pytest.param(chord_of, 100_000, 100_000, marks=pytest.mark.slow),
        (chords_as_bodies, 200, 2),
        (chords_in_headers, 200, 201),
        (groups_and_tasks, 200, 2),
        (groups_in_a_row, 200, [1, 1]),
        (groups_in_groups, 200, [1] * 201),
    ],
)
def test_long_and_deep_canvases_run_to_the_end(shop, make, size, value):
    with shop.worker(concurrency=2):
        assert make(shop, size).apply_async().get(timeout=WAIT) == value
