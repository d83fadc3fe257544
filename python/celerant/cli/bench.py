"""``celerant bench``: measure Celerant and Celery on this machine and a broker."""

from __future__ import annotations

import gc
import importlib.util
import secrets
import statistics
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import click

from celerant.app import Celerant
from celerant.canvas.group import group
from celerant.cli.options import OutputFile, json_option, print_json
from celerant.common.extras import extra
from celerant.common.urls import masked

__all__ = ["bench"]

#: Celery is about this many times slower, so it gets as many times fewer members.
_FEWER = 20


@click.command()
@click.option("--broker", required=True, metavar="URL", help="The broker to measure.")
@click.option("--members", type=click.IntRange(100), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--svg",
    type=OutputFile(path_type=Path),
    help="Also write the table as a picture.",
)
@json_option
def bench(
    broker: str,
    members: int,
    rounds: int,
    svg: Path | None,
    as_json: bool,  # noqa: FBT001 - called by click
) -> int:
    """Measure how fast groups leave from here for a broker, without results.

    Celery is measured beside it if it is installed. Uses a queue of its own, which is
    deleted at the end.
    """
    queue = f"celerant-bench-{secrets.token_hex(4)}"
    app = Celerant(queue, broker=broker, backend="disabled://", set_as_current=False)
    app.conf.task_default_queue = queue
    works = {"Celerant": (members, _ours(app, members))}
    if importlib.util.find_spec("celery") is not None:
        fewer = max(1, members // _FEWER)
        works["Celery"] = (fewer, _celerys(broker, queue, fewer))
    try:
        trip = _round_trip(app)
        rates = _measure(works, rounds, lambda: _purge(app))
    finally:
        with app.connection_for_write() as connection:
            connection.default_channel.queue_delete(queue)
        app.close()
    told = _told(broker, trip, rates)
    if as_json:
        print_json(told)
    if svg is not None or not as_json:
        _draw(told, svg, is_printed=not as_json)
    return 0


def _ours(app: Celerant, members: int) -> Callable[[], Any]:
    @app.task(name="celerant.bench.noop", ignore_result=True)
    def noop(x: int) -> None:
        pass

    return lambda: group(noop.s(i) for i in range(members)).apply_async()


def _celerys(broker: str, queue: str, members: int) -> Callable[[], Any]:
    import celery  # noqa: PLC0415 - an extra

    app = celery.Celery(queue, broker=broker, set_as_current=False)
    app.conf.task_default_queue = queue

    @app.task(name="celerant.bench.noop", ignore_result=True, shared=False)  # type: ignore[untyped-decorator,unused-ignore]
    def noop(x: int) -> None:
        pass

    return lambda: celery.group(noop.s(i) for i in range(members)).apply_async()


def _measure(
    works: dict[str, tuple[int, Callable[[], Any]]],
    rounds: int,
    between: Callable[[], None],
) -> dict[str, list[float]]:
    """Return members per second of each round; the first round is a warm-up."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, (members, work) in works.items():
            gc.collect()
            began = time.perf_counter()
            work()
            rates[name].append(members / (time.perf_counter() - began))
            between()
    return {name: of_name[1:] for name, of_name in rates.items()}


def _purge(app: Celerant) -> None:
    app.control.purge()


def _round_trip(app: Celerant) -> float:
    """Return the seconds that the broker takes to answer: the median of some."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        queue = app.queues[app.conf.task_default_queue].bind(channel)
        queue.declare()
        seconds = []
        for _ in range(20):
            began = time.perf_counter()
            queue.queue_declare()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _told(broker: str, trip: float, rates: dict[str, list[float]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "broker": masked(broker),
        "round_trip_ms": round(trip * 1000, 3),
        "per_second": {
            name: round(statistics.median(of_name)) for name, of_name in rates.items()
        },
    }
    if "Celery" in rates:
        pairs = zip(rates["Celerant"], rates["Celery"], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        told["times_celery"] = round(ratio, 1)
    return told


def _draw(told: dict[str, Any], svg: Path | None, *, is_printed: bool) -> None:
    rich = extra("rich.console", of="cli", needed_by="`celerant bench`")
    bars = extra("rich.bar", of="cli", needed_by="`celerant bench`")
    tables = extra("rich.table", of="cli", needed_by="`celerant bench`")
    texts = extra("rich.text", of="cli", needed_by="`celerant bench`")
    title = f"groups to {told['broker']}, round trip {told['round_trip_ms']} ms"
    # Text, because rich would read [fe80::1] as its markup.
    table = tables.Table(
        title=texts.Text(title, style="table.title"), title_justify="left"
    )
    table.add_column("sender")
    table.add_column("members per second", justify="right")
    table.add_column("", width=40)
    most = max(told["per_second"].values())
    for name, of_name in told["per_second"].items():
        table.add_row(name, f"{of_name:,}", bars.Bar(most, 0, of_name, width=40))
    if "times_celery" in told:
        table.caption = f"{told['times_celery']:,} times Celery, median of the rounds"
    if is_printed:
        rich.Console().print(table)
    if svg is not None:
        recorded = rich.Console(record=True, width=100, file=StringIO())
        recorded.print(table)
        recorded.save_svg(str(svg), title="celerant bench")
