"""How often a group that is fed tries a broker that is away, and what stops that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from celerant.dispatch.connections import Patience
from celerant.dispatch.interruption import Abandoned

__all__ = ["FeedingPatience", "Resting"]

logger = logging.getLogger("celerant")

#: Seconds between two tries, at most.
_INTERVAL_MOST = 5.0


class Resting(Protocol):
    """Whoever can stop a feeding, or pause it, between two tries."""

    def rest(self, seconds: float) -> bool:
        """Wait, and go on waiting while it is paused; return whether it goes on."""


class FeedingPatience(Patience):
    """Tries for as long as it takes, unless the call says otherwise; can be stopped."""

    def __init__(
        self, policy: Mapping[str, Any], *, enabled: bool, feeder: Resting
    ) -> None:
        super().__init__(policy, enabled=enabled)
        self._feeder = feeder

    @classmethod
    def lasting(cls, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Return a policy that never gives up: a stream outlives a broker's restart."""
        most = max(_INTERVAL_MOST, float(policy.get("interval_max") or 0))
        return {**policy, "max_retries": None, "interval_max": most}

    def pause(self, exc: BaseException) -> None:
        """Wait before the next try.

        Raises:
            BaseException: `exc` itself, where no try is left.
            Abandoned: The feeding was stopped.
        """
        seconds = self.next(exc)
        logger.warning("broker lost (%s); try %d follows", exc, self.tries + 1)
        if not self._feeder.rest(seconds):
            raise Abandoned("its feeding was stopped")
