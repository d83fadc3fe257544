"""A pytest plugin that runs any tests with the swap-in installed."""

from __future__ import annotations

import pytest

import celerant.celery
from celerant.celery.sending import _Sending

__all__ = ["pytest_configure", "pytest_terminal_summary"]

_volleys: list[bool] = []


def pytest_configure() -> None:
    """Install it before any test module is imported."""
    celerant.celery.install()
    volley = _Sending._volley

    def counted(self: _Sending, *args: object, **kwargs: object) -> bool:
        _volleys.append(volley(self, *args, **kwargs))  # type: ignore[arg-type]
        return _volleys[-1]

    _Sending._volley = counted  # type: ignore[method-assign]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> None:
    """Say how many groups left in volleys."""
    terminalreporter.write_line(f"volleys: {sum(_volleys)}")
