from __future__ import annotations

import sys
from importlib.metadata import entry_points

import pytest


@pytest.fixture(scope="session")
def plugin_arguments():
    """How pytest is told of the plugin where the checkout is older than its name."""
    is_installed = any(
        point.value == "celerant.testing.plugin"
        for point in entry_points(group="pytest11")
    )
    return () if is_installed else ("-p", "celerant.testing.plugin")


@pytest.fixture(autouse=True)
def modules_of_projects():
    """Let each project have modules of its own under the same names."""
    yield
    for name in ("shop", "store", "test_shop", "test_store"):
        sys.modules.pop(name, None)
