"""Benches: interleaved with their baselines, and never of a debug build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from versus import Versus, told

from celerant import _core

_FIGURES = pytest.StashKey[list[tuple[str, dict[str, Any]]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to measure a debug build."""
    if _core.build_info()["profile"] != "release":
        raise pytest.UsageError("benches need a release build: make build")
    config.stash[_FIGURES] = []


@pytest.fixture
def versus(benchmark: Any) -> Versus:
    """Measure against baselines, interleaved."""
    return Versus(benchmark)


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest, benchmark: Any) -> Iterator[None]:
    """Keep the figures of a bench, for the table at the end."""
    yield
    figures = dict(benchmark.extra_info)
    # Of use to the plots alone.
    figures.pop("plot", None)
    # A bench that failed has no figures.
    if figures:
        assert figures.pop("correct"), f"measured something wrong: {figures}"
    if figures:
        request.config.stash[_FIGURES].append((request.node.name, figures))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the figures of pytest-benchmark's JSON: rates, and ratios of a round."""
    if not config.stash[_FIGURES]:
        return
    terminalreporter.section("figures; ratios: median (quartiles)")
    for name, figures in config.stash[_FIGURES]:
        terminalreporter.write_line(name.removeprefix("test_"))
        for line in told(figures):
            terminalreporter.write_line(f"    {line}")
