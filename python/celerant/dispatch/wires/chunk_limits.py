"""The limits of chunks: how many members leave together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAR", "MOST", "NEAR", "ChunkLimits", "limits_over"]


@dataclass(slots=True, frozen=True)
class ChunkLimits:
    """The limits of a chunk; the one that is reached first ends it."""

    members: int
    bytes: int


#: For a near broker, and for one to which more is written while it takes this.
NEAR = ChunkLimits(500, 1 << 20)
#: The round trip from which on a broker is far, in seconds.
FAR = 0.002
#: The most members that a broker takes in a second. If as many leave at once as it
#: takes in a round trip, half of the time is spent on the way.
_PER_SECOND = 1_000_000
#: How many times as much as `NEAR` a chunk may be: the broker does nothing else while
#: it takes one. Source: `benches/test_dispatch.py`, `test_far`.
MOST = 20


def limits_over(round_trip: float) -> ChunkLimits:
    """Return the limits of a chunk whose answer is awaited before the next one leaves.

    Args:
        round_trip: Seconds.
    """
    if round_trip < FAR:
        return NEAR
    times = min(MOST, round_trip * _PER_SECOND / NEAR.members)
    return ChunkLimits(int(NEAR.members * times), int(NEAR.bytes * times))
