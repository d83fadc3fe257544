from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="package", autouse=True)
def _importable():
    """Let spawned processes import the modules of tasks that stand here."""
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    yield
    sys.path.remove(here)
