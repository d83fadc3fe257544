"""Measures something beside its baselines."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Versus", "rate", "told"]

Rate = Callable[[], float]


class Versus:
    """Measures something and its baselines in turn, round by round.

    Only the ratios of one round count: the machine's speed drifts between rounds.
    """

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark

    def __call__(self, work: Rate, rounds: int = 5, **baselines: Rate) -> None:
        """Run `work` and each baseline once per round; all return tasks per second.

        Puts the medians, and per baseline the ratio with its quartiles, into
        ``extra_info``.
        """
        rates: dict[str, list[float]] = {name: [] for name in ("this", *baselines)}

        def measure_baselines() -> None:
            for name, baseline in baselines.items():
                gc.collect()
                rates[name].append(baseline())
            gc.collect()

        def run() -> None:
            rates["this"].append(work())

        self._benchmark.pedantic(
            run, setup=measure_baselines, rounds=rounds, warmup_rounds=1
        )
        info = self._benchmark.extra_info
        for name, values in rates.items():
            # The first of each was the warm-up.
            info[f"{name}_per_second"] = round(statistics.median(values[1:]))
        for name in baselines:
            pairs = zip(rates["this"][1:], rates[name][1:], strict=True)
            ratios = [mine / other for mine, other in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            info[f"vs_{name}"] = [round(low, 2), round(middle, 2), round(high, 2)]
        info["correct"] = True


def told(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each figure that a bench put into ``extra_info``."""
    for name, value in figures.items():
        if name.startswith("vs_"):
            low, middle, high = value
            baseline = name.removeprefix("vs_")
            yield f"{middle:g} ({low:g} to {high:g}) x {baseline}"
        elif name.endswith("_per_second"):
            yield f"{name.removesuffix('_per_second')}: {value:,}/s"
        else:
            yield f"{name}: {value:,}"


def rate(n: int, work: Callable[[], Any]) -> float:
    """Return how many of `n` per second `work` did."""
    started = time.perf_counter()
    work()
    return n / (time.perf_counter() - started)
