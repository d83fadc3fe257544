"""States have Celery's names and sets."""

from __future__ import annotations

import celery.states

from celerant import states


def test_states_are_celerys():
    for name in states.__all__:
        assert getattr(states, name) == getattr(celery.states, name), name


def test_states_without_a_counterpart_are_known():
    theirs = {name for name in vars(celery.states) if name.isupper()}
    assert {n for n in theirs - {*states.__all__} if "PRECEDENCE" not in n} == set()
