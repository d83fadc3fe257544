"""Canvases stay as they were when other canvases are made of them."""

from __future__ import annotations

import copy
from functools import reduce
from operator import or_
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import celerant
from harness.canvases import NAMES, build, recipes


@pytest.fixture(scope="module")
def side():
    with celerant.Celerant("celerant-test-composing") as app:
        tasks = {name: app.task(name=name)(lambda *_args: None) for name in NAMES}
        yield SimpleNamespace(
            tasks=tasks,
            group=celerant.group,
            chain=celerant.chain,
            chord=celerant.chord,
            flat=False,
        )


@given(parts=st.lists(recipes(max_nodes=12), min_size=2, max_size=5))
def test_joined_canvases_stay_as_they_were(side, parts):
    canvases = []
    for part in parts:
        try:
            canvases.append(build(part, side))
        except celerant.CanvasError:
            # An empty group, to which a callback was to be linked.
            canvases.append(side.group())
    before = copy.deepcopy(canvases)
    chained = side.chain(*canvases)
    assert canvases == before
    piped = reduce(or_, canvases)
    assert canvases == before
    # Nor are the later ones changed by the canvases made of them first.
    assert side.chain(*canvases) == chained
    assert reduce(or_, canvases) == piped
