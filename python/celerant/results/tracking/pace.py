"""How fast members arrive, measured over the last half minute."""

from __future__ import annotations

from collections import deque

from celerant._core import monotonic

__all__ = ["Pace"]

#: Seconds between two notes, and how many notes are kept.
_EVERY = 1.0
_NOTES = 30


class Pace:
    """Counts of arrived members at a few times; any thread may note one.

    Args:
        arrived: How many members have arrived by now.
    """

    def __init__(self, arrived: int) -> None:
        #: (`monotonic` time, arrived members), the oldest first.
        self._notes: deque[tuple[float, int]] = deque(maxlen=_NOTES)
        self._notes.append((monotonic(), arrived))

    def note(self, arrived: int) -> None:
        """Note how many members have arrived by now."""
        now = monotonic()
        if now - self._notes[-1][0] >= _EVERY:
            self._notes.append((now, arrived))

    def rate(self, arrived: int) -> float | None:
        """Return the members per second; None if it is too early to say.

        Args:
            arrived: Members that have arrived by now.
        """
        since, before = self._notes[0]
        seconds = monotonic() - since
        return (arrived - before) / seconds if seconds >= _EVERY else None
