"""How much leaves together grows with the round trip."""

from __future__ import annotations

import pytest

from celerant.dispatch.wires.volleys import FAR, MOST, NEAR, volley_over


@pytest.mark.parametrize("round_trip", [0, 1e-5, FAR * 0.99])
def test_a_volley_to_a_near_broker_stays_small(round_trip):
    assert volley_over(round_trip) is NEAR


def test_a_volley_grows_as_the_round_trip_does():
    once, twice = volley_over(0.004), volley_over(0.008)
    assert NEAR.members < once.members
    assert twice.members == 2 * once.members
    assert twice.bytes == 2 * once.bytes


@pytest.mark.parametrize("round_trip", [0.01, 0.3, 60])
def test_a_volley_grows_to_a_limit(round_trip):
    volley = volley_over(round_trip)
    assert volley.members == MOST * NEAR.members
    assert volley.bytes == MOST * NEAR.bytes
