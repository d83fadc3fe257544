from __future__ import annotations

import gc

import pytest

from celerant.cli import serving


@pytest.fixture
def thresholds():
    """Leave the collector as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_a_worker_looks_for_garbage_less_often(thresholds):
    gc.set_threshold(700, 10, 10)
    serving._collect_less_often()
    assert gc.get_threshold() == (10_000, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (50_000, 20, 5)])
def test_a_threshold_of_the_users_own_stays(thresholds, own):
    gc.set_threshold(*own)
    serving._collect_less_often()
    assert gc.get_threshold() == own
