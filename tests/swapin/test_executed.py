"""Random canvases run to the end by stock workers give the same with the swap-in."""

from __future__ import annotations

import os

import pytest

import celerant.celery
from harness.redis_server import RedisServer
from harness.traced_canvases import random_recipes
from integration.test_executed_equal import Place, check


@pytest.fixture
def place(tmp_path):
    with RedisServer(tmp_path) as server:
        yield Place(server)


def check_senders(place, recipes):
    """Send the recipes with Celery as it is, and with the swap-in."""
    with place.stock_worker(), place.stock_sender() as stock:
        run = place.run()
        run.send(recipes, stock)
        place.await_end(run, stock)
        expected = run.outcomes()
        with celerant.celery.install():
            check(place, "the swap-in", recipes, expected, stock)


@pytest.mark.timeout(180)
def test_canvases_give_the_same_with_the_swap_in(place):
    number = int(os.environ.get("CELERANT_EXECUTED_SEED", "5"))
    check_senders(place, random_recipes(80, number))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(3))
def test_many_canvases_give_the_same_with_the_swap_in(place, number):
    check_senders(place, random_recipes(1_000, number))
