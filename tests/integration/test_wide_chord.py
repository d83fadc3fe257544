"""A chord as wide as they come, over Redis."""

from __future__ import annotations

import pytest

from celerant import chord


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_chord_of_a_hundred_thousand_gives_all_values_in_order(make_app):
    app = make_app("redis")

    @app.task
    def same(number):
        return number

    @app.task
    def in_order(values):
        return [len(values), values == list(range(len(values)))]

    header = (same.s(number) for number in range(100_000))
    with app.worker(concurrency=2):
        result = chord(header)(in_order.s())
        assert result.get(timeout=1_100) == [100_000, True]
