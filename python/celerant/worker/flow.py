"""The prefetch count: how many messages a broker may hand over before they run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Flow"]


@dataclass(frozen=True, slots=True)
class Flow:
    """What the prefetch count is computed from."""

    slots: int
    #: Messages that are held for each slot; 0 is without limit.
    multiplier: int
    #: The most messages with an eta that are held besides; None is without limit.
    eta_limit: int | None = None

    def wanted(self, held: int) -> int:
        """Return the prefetch count while `held` messages wait for their eta."""
        if not self.multiplier:
            return 0
        if self.eta_limit is not None:
            held = min(held, self.eta_limit)
        return self.slots * self.multiplier + held
