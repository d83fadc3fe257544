"""When everything that is pending is read again: pub/sub loses messages."""

from __future__ import annotations

import time

__all__ = ["SweepClock"]

#: Seconds between two sweeps, at least; and this many times the last sweep's own.
_SWEEP_INTERVAL = 1.0
_SWEEP_SHARE = 20
#: The same where nothing is pushed: a sweep is then the only news.
_SWEEP_INTERVAL_ALONE = 0.2


class SweepClock:
    """Says when the next sweep is due."""

    def __init__(self) -> None:
        #: Monotonic.
        self.next = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self.next

    @property
    def left(self) -> float:
        """Seconds until it is time."""
        return max(0.0, self.next - time.monotonic())

    def plan(self, took: float, *, is_alone: bool) -> None:
        """Set the next sweep after one that took `took` seconds."""
        least = _SWEEP_INTERVAL_ALONE if is_alone else _SWEEP_INTERVAL
        self.next = time.monotonic() + max(least, _SWEEP_SHARE * took)
