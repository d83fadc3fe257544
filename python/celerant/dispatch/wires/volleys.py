"""How much leaves together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAR", "MOST", "NEAR", "Volley", "volley_over"]


@dataclass(slots=True, frozen=True)
class Volley:
    """How much a chunk holds; what is reached first ends it."""

    members: int
    bytes: int


#: For a broker that is near, or one that more is written to while it takes this.
NEAR = Volley(500, 1 << 20)
#: Seconds of a round trip from which on a broker is far.
FAR = 0.002
#: Members that a broker takes in a second, at most: if as many leave at once as it
#: takes in a round trip, half of the time is spent on the way.
_PER_SECOND = 1_000_000
#: How many times as much as `NEAR` a chunk may be: the broker does nothing else while
#: it takes one. Source: `benches/test_dispatch.py`, `test_far`.
MOST = 20


def volley_over(round_trip: float) -> Volley:
    """Return how much leaves if its answer is awaited before more does.

    Args:
        round_trip: Seconds.
    """
    if round_trip < FAR:
        return NEAR
    times = min(MOST, round_trip * _PER_SECOND / NEAR.members)
    return Volley(int(NEAR.members * times), int(NEAR.bytes * times))
