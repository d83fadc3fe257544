from __future__ import annotations

import pytest

from celerant import group


@pytest.fixture
def result(app):
    """A group of four that is done, of which the first member failed."""

    @app.task(name="halve")
    def halve(x):
        return 1 / x

    with app.worker(concurrency=1):
        result = group(halve.s(i) for i in range(4)).apply_async()
        result.get(timeout=10, propagate=False)
    return result
