"""When all pending records are read again, because pub/sub may lose messages."""

from __future__ import annotations

from celerant._core import monotonic

__all__ = ["SweepClock", "rest_after"]

#: The least pause between two sweeps, in seconds and as a multiple of the last sweep's
#: time.
_SWEEP_INTERVAL = 1.0
_SWEEP_SHARE = 20
#: The least seconds if only sweeps bring some members' records.
_SWEEP_INTERVAL_ALONE = 0.2


def rest_after(took: float) -> float:
    """Return the least pause in seconds after a sweep that took `took` seconds."""
    return _SWEEP_SHARE * took


class SweepClock:
    """Tells when the next sweep is due."""

    def __init__(self) -> None:
        #: The time (`monotonic`) at which the last sweep ended, and its seconds.
        self._last, self._took = 0.0, 0.0

    def left(self, *, is_alone: bool) -> float:
        """Return the seconds until the next sweep is due.

        Args:
            is_alone: Whether only sweeps bring some members' records.
        """
        least = _SWEEP_INTERVAL_ALONE if is_alone else _SWEEP_INTERVAL
        due = self._last + max(least, rest_after(self._took))
        return max(0.0, due - monotonic())

    def swept(self, took: float) -> None:
        """Note that a sweep has ended now, after `took` seconds."""
        self._last, self._took = monotonic(), took
