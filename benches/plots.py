"""Draws the figures of ``make bench`` into the documentation.

Usage: ``python plots.py FIGURES.json FOLDER``, the JSON of pytest-benchmark. A bench
belongs to a plot if its ``extra_info`` has ``plot``: the plot's name, and the bench's
place on its x axis, a number or a word. Its series are the figures with one ending.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw"]

#: Readable on a light page and on a dark one.
_GREY = "#808080"
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.labelcolor": _GREY,
    "text.color": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    # The same figures make the same file.
    "svg.hashsalt": "celerant",
    "svg.fonttype": "none",
}
#: What a series is called, and its colour (Okabe and Ito's, told apart by all eyes).
_SERIES = {
    "this": ("Celerant", "#0072b2"),
    "celerant": ("Celerant", "#0072b2"),
    "celery": ("Celery", "#d55e00"),
    "celery_batch": ("Celery in producer.batch()", "#e69f00"),
    "ardiq": ("ArdiQ", "#cc79a7"),
    "ready_bytes": ("ready bytes over one socket", "#009e73"),
    "plain": ("the shortest worker", "#009e73"),
    "at_once": ("without a window", "#009e73"),
    "mget_orjson": ("MGET + orjson", "#009e73"),
}


@dataclasses.dataclass(frozen=True)
class Plot:
    """What a picture shows: the figures of one name that have one ending."""

    file: str
    name: str
    ending: str
    x: str
    y: str
    log: str = "xy"


PLOTS = (
    Plot("rate-by-size", "sizes", "_per_second", "members of the group", "members/s"),
    Plot(
        "memory-by-size",
        "sizes",
        "_grew_kib",
        "members of the group",
        "KiB at the peak",
    ),
    Plot(
        "distance-redis",
        "distance-redis",
        "_per_second",
        "ms each way to Redis",
        "members/s",
        "y",
    ),
    Plot(
        "distance-rabbitmq",
        "distance-amqp",
        "_per_second",
        "ms each way to RabbitMQ",
        "members/s",
        "y",
    ),
    Plot(
        "round-trips", "round-trips", "_per_second", "", "tasks/s there and back", "y"
    ),
    Plot("window", "window", "_per_second", "window", "members/s", "x"),
    Plot("cancel", "cancel", "_took_ms", "members of the group", "ms", "x"),
    Plot("progress", "progress", "_per_second", "members of the group", "calls/s", "x"),
    Plot(
        "failures", "failures", "_per_second", "failures in the store", "records/s", "x"
    ),
    Plot("stream", "stream", "_grew_kib", "members of the stream", "KiB more", "x"),
)

_Point = tuple[Any, float]


def draw(figures: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw each plot that has figures; returns the files.

    Args:
        figures: The JSON of pytest-benchmark.
        folder: Where the pictures go, as SVG.
    """
    drawn = []
    for plot in PLOTS:
        series = _series(plot, figures["benchmarks"])
        if series:
            drawn.append(_draw(plot, series, folder / f"{plot.file}.svg"))
    return drawn


def _series(plot: Plot, benches: list[dict[str, Any]]) -> dict[str, list[_Point]]:
    found: dict[str, list[_Point]] = {}
    for bench in benches:
        name, x = bench["extra_info"].get("plot", (None, None))
        if name != plot.name:
            continue
        for key, y in bench["extra_info"].items():
            series = key.removesuffix(plot.ending)
            if series != key and series in _SERIES:
                found.setdefault(series, []).append((x, y))
    return found


def _draw(plot: Plot, series: dict[str, list[_Point]], file: Path) -> Path:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        if "y" in plot.log:
            # Such an axis has no place for nothing.
            series = {
                name: [(x, max(y, 1)) for x, y in line] for name, line in series.items()
            }
        words = list(dict.fromkeys(x for line in series.values() for x, _ in line))
        if isinstance(words[0], str):
            _bars(axes, series, words)
        else:
            _lines(axes, series, log_x="x" in plot.log)
        if "y" in plot.log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel(plot.x)
        axes.set_ylabel(plot.y)
        axes.grid(axis="y")
        if len(series) > 1:
            axes.legend()
        figure.savefig(file, metadata={"Date": None})
    return file


def _lines(axes: Axes, series: dict[str, list[_Point]], *, log_x: bool) -> None:
    if log_x:
        axes.set_xscale("log")
    for name, points in series.items():
        label, colour = _SERIES[name]
        xs, ys = zip(*sorted(points), strict=True)
        axes.plot(xs, ys, marker="o", label=label, color=colour)


def _bars(axes: Axes, series: dict[str, list[_Point]], words: list[str]) -> None:
    width = 0.8 / len(series)
    for place, (name, points) in enumerate(series.items()):
        label, colour = _SERIES[name]
        lefts = [words.index(word) + place * width for word, _ in points]
        bars = axes.bar(lefts, [y for _, y in points], width, label=label, color=colour)
        axes.bar_label(bars, fmt="{:,.0f}", padding=2, color=_GREY, fontsize=8)
    places = [i + 0.4 - width / 2 for i in range(len(words))]
    axes.set_xticks(places, words, fontsize=8)


def main(figures: str, folder: str) -> None:
    """Draw the plots of a file of figures."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for file in draw(json.loads(Path(figures).read_text(encoding="utf-8")), target):
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
