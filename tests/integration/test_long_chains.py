"""Chains of a thousand steps over Redis."""

from __future__ import annotations

import pytest

from celerant import chain

pytestmark = pytest.mark.timeout(120)
STEPS = 1000
WAIT = 60


def test_a_task_that_sends_a_long_chain_gets_its_result(make_app):
    app = make_app("redis")

    @app.task(name="long.add")
    def add(x, y):
        return x + y

    @app.task(name="long.sends")
    def sends():
        return chain(add.s(0, 1), *[add.s(1)] * (STEPS - 1)).apply_async().id

    with app.worker(concurrency=2):
        result = sends.delay()
        last = app.AsyncResult(result.get(timeout=WAIT))
        (child,) = result.children
        assert child.get(timeout=WAIT) == 1
        assert last.get(timeout=WAIT) == STEPS
