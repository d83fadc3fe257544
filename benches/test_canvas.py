"""How fast deep and wide canvases leave and how large they are, beside Celery."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import celery
import pytest
from kombu import Connection, Queue
from versus import Versus, rate

import celerant

#: Numbers of tasks; bytes sent are told for both.
_SIZES = (100, 200)

Make = Callable[[Any, int], Any]


def chain(side: Any, n: int) -> Any:
    """Make n steps."""
    return side.chain([side.add.s(1) for _ in range(n)])


def chains_in_a_group(side: Any, n: int) -> Any:
    """Make n / 3 chains of three steps, side by side."""
    steps = ((side.add.s(i), side.add.s(1), side.add.s(2)) for i in range(n // 3))
    return side.group([side.chain(of_one) for of_one in steps])


def chord(side: Any, n: int) -> Any:
    """Make n tasks and their body."""
    return side.chord([side.add.s(1, 1) for _ in range(n)], side.add.s(1))


def chords_as_bodies(side: Any, n: int) -> Any:
    """Make n / 2 chords, each the body of the one before."""
    canvas = side.add.s(1)
    for _ in range(n // 2):
        canvas = side.chord([side.add.s(1), side.add.s(1)], canvas)
    return canvas


def groups_and_tasks(side: Any, n: int) -> Any:
    """Make a chain of n / 6 groups of two, and of a task after each."""
    stage = [side.group(side.add.s(1), side.add.s(1)), side.add.s(1)]
    return side.chain(stage * (n // 6))


def groups_in_groups(side: Any, n: int) -> Any:
    """Make n groups, each in the one before, of n + 1 tasks in all."""
    canvas = side.add.s(1)
    for _ in range(n):
        canvas = side.group(canvas, side.add.s(1))
    return canvas


def stages(side: Any, n: int) -> Any:
    """Make n groups of two in one chain, and a task after each."""
    return groups_and_tasks(side, 6 * n)


class Side:
    """A library, its app on memory://, and the messages there."""

    def __init__(self, library: Any, app: Any, **common: Any) -> None:
        app.conf.task_default_queue = self.queue = f"bench-{uuid.uuid4().hex[:8]}"

        def add(x: int, y: int = 0) -> int:
            return x + y

        made = app.task(name="bench.add", typing=False, **common)(add)
        self.canvases = SimpleNamespace(
            add=made,
            chain=library.chain,
            chord=library.chord,
            group=library.group,
        )

    def measure(self, make: Make, n: int) -> float:
        """Make and send a canvas; return tasks per second."""
        reached = rate(n, lambda: make(self.canvases, n).apply_async())
        assert self.bytes_sent() > n
        return reached

    def bytes_sent(self) -> int:
        """Take all messages; return the length of their bodies."""
        size = 0
        with Connection("memory://") as connection:
            queue = Queue(self.queue, channel=connection.channel(), no_declare=True)
            while (message := queue.get(no_ack=True)) is not None:
                size += len(message.body)
        return size


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    """Return Celerant's side and Celery's."""
    stock = celery.Celery("bench", broker="memory://", backend="cache+memory://")
    with celerant.Celerant("bench-canvas") as app:
        yield Side(celerant, app), Side(celery, stock, shared=False)
    stock.close()


@pytest.mark.benchmark(group="canvases: made and sent to memory://")
@pytest.mark.parametrize(
    ("make", "n"),
    [
        (chain, _SIZES[-1]),
        (chord, _SIZES[-1]),
        (chord, 2_000),
        (chains_in_a_group, 600),
        (chords_as_bodies, _SIZES[-1]),
        (groups_and_tasks, _SIZES[-1]),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_canvas(
    versus: Versus, sides: tuple[Side, Side], make: Make, n: int, benchmark: Any
) -> None:
    ours, theirs = sides
    for count in _SIZES:
        for name, side in (("celerant", ours), ("celery", theirs)):
            make(side.canvases, count).apply_async()
            benchmark.extra_info[f"bytes of {count} tasks, {name}"] = side.bytes_sent()
    versus(
        lambda: ours.measure(make, n),
        celery=lambda: theirs.measure(make, n),
    )


@pytest.mark.benchmark(group="canvases: how large, sent to memory://")
@pytest.mark.parametrize(
    ("make", "n"),
    [(chain, 1_000), (chord, 100_000), (groups_in_groups, 200), (stages, 200)],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_bytes_sent(
    sides: tuple[Side, Side], make: Make, n: int, benchmark: Any
) -> None:
    """Tell how many bytes twice as large a canvas takes: twice as many."""
    side, _ = sides
    sizes = []
    for count in (n // 2, n):
        make(side.canvases, count).apply_async()
        sizes.append(side.bytes_sent())

    def send() -> None:
        make(side.canvases, n).apply_async()

    benchmark.pedantic(send, teardown=side.bytes_sent, rounds=3)
    benchmark.extra_info[f"bytes of {n // 2}"], benchmark.extra_info["bytes"] = sizes
    ratio = sizes[1] / sizes[0]
    benchmark.extra_info["bytes_grow_by"] = round(ratio, 3)
    benchmark.extra_info["correct"] = ratio == pytest.approx(2, rel=0.02)
    assert benchmark.extra_info["correct"]
