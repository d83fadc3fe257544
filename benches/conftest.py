"""Benches: interleaved with their baselines, and never of a debug build."""

from __future__ import annotations

from typing import Any

import pytest
from versus import Versus

from celerant import _core


def pytest_configure() -> None:
    """Refuse to measure what nobody should run."""
    if _core.build_info()["profile"] != "release":
        raise pytest.UsageError("benches need a release build: make build")


@pytest.fixture
def versus(benchmark: Any) -> Versus:
    """Measure against baselines, interleaved."""
    return Versus(benchmark)
