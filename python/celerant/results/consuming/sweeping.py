"""The times at which all pending records are read again: pub/sub loses messages."""

from __future__ import annotations

from celerant._core import monotonic

__all__ = ["SweepClock", "rest_after"]

#: The least seconds between two sweeps; and the least multiple of the last sweep's
#: time.
_SWEEP_INTERVAL = 1.0
_SWEEP_SHARE = 20
#: The same if no record is pushed, and sweeps are the only news.
_SWEEP_INTERVAL_ALONE = 0.2


def rest_after(took: float) -> float:
    """Return the seconds to leave the store alone after a sweep that took so long."""
    return _SWEEP_SHARE * took


class SweepClock:
    """Tells when the next sweep is due."""

    def __init__(self) -> None:
        #: When the last one ended (monotonic), and how long it took.
        self._last, self._took = 0.0, 0.0

    def left(self, *, is_alone: bool) -> float:
        """Return the seconds until it is time.

        Args:
            is_alone: Whether only sweeps bring news of some members.
        """
        least = _SWEEP_INTERVAL_ALONE if is_alone else _SWEEP_INTERVAL
        due = self._last + max(least, rest_after(self._took))
        return max(0.0, due - monotonic())

    def swept(self, took: float) -> None:
        """Note that a sweep ended now that took `took` seconds."""
        self._last, self._took = monotonic(), took
