"""The prefetch count: messages that a broker may hand over before they run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Flow"]


@dataclass(frozen=True, slots=True)
class Flow:
    """How many messages the broker may hand over before they run."""

    slots: int
    #: How many messages are held for each slot; 0 is without limit.
    multiplier: int
    #: How many messages with an eta are held besides; None is without limit.
    eta_limit: int | None = None

    def wanted(self, held: int) -> int:
        """Return the prefetch count while `held` messages wait for their time."""
        if not self.multiplier:
            return 0
        if self.eta_limit is not None:
            held = min(held, self.eta_limit)
        return self.slots * self.multiplier + held
