"""How much leaves together grows with the round trip."""

from __future__ import annotations

import pytest

from celerant.dispatch.wires.chunk_limits import FAR, MOST, NEAR, limits_over


@pytest.mark.parametrize("round_trip", [0, 1e-5, FAR * 0.99])
def test_a_chunk_for_a_near_broker_stays_small(round_trip):
    assert limits_over(round_trip) is NEAR


def test_a_chunk_grows_as_the_round_trip_does():
    once, twice = limits_over(0.004), limits_over(0.008)
    assert NEAR.members < once.members
    assert twice.members == 2 * once.members
    assert twice.bytes == 2 * once.bytes


@pytest.mark.parametrize("round_trip", [0.01, 0.3, 60])
def test_a_chunk_grows_to_a_limit(round_trip):
    limits = limits_over(round_trip)
    assert limits.members == MOST * NEAR.members
    assert limits.bytes == MOST * NEAR.bytes
