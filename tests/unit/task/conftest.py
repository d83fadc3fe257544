from __future__ import annotations

import sys
from pathlib import Path

import pytest

from celerant.context import apps


@pytest.fixture(scope="package", autouse=True)
def _importable():
    """Let spawned processes import the modules of tasks that stand here."""
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    yield
    sys.path.remove(here)


@pytest.fixture(autouse=True)
def _no_other_shared_tasks(monkeypatch):
    """Leave tasks that a test shares to no app of another."""
    monkeypatch.setattr(apps, "_shared", {})
