"""Connecting, and trying again."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from kombu import Connection
from kombu.exceptions import OperationalError

__all__ = ["Patience", "connect", "is_refusal", "recoverable_errors"]

logger = logging.getLogger("celerant")

#: The words of Redis at its limit of clients.
_FULL = "max number of clients reached"


class Patience:
    """Counts the tries of a failed operation, and pauses before each.

    Args:
        policy: kombu's retry policy: `max_retries` (None: for ever),
            `interval_start`, `interval_step`, `interval_max`, all in seconds.
        enabled: False tries once.
    """

    def __init__(self, policy: Mapping[str, Any], *, enabled: bool) -> None:
        self._limit = policy.get("max_retries", 3) if enabled else 0
        self._start = float(policy.get("interval_start") or 0)
        self._step = float(policy.get("interval_step") or 0)
        self._max = float(policy.get("interval_max") or 0)
        self.tries = 0

    def reset(self) -> None:
        """Forget the failures so far: something succeeded."""
        self.tries = 0

    def pause(self, exc: BaseException) -> None:
        """Wait before the next try.

        Raises:
            BaseException: `exc` itself, if no try is left.
        """
        seconds = self.next(exc)
        logger.warning("broker lost (%s); try %d follows", exc, self.tries + 1)
        time.sleep(seconds)

    def next(self, exc: BaseException) -> float:
        """Return the seconds to wait before the next try.

        Raises:
            BaseException: `exc` itself, if no try is left.
        """
        if self._limit is not None and self.tries >= self._limit:
            raise exc
        seconds = min(self._start + self.tries * self._step, self._max)
        self.tries += 1
        return seconds


def is_refusal(exc: BaseException | None) -> bool:
    """Whether a broker that answers refuses our connection, or one more of them."""
    while exc is not None:
        code = getattr(exc, "code", None)
        if isinstance(exc, _amqp_refusals()) or (code is None and _FULL in str(exc)):
            return True
        exc = exc.__cause__
    return False


def _amqp_refusals() -> tuple[type[BaseException], ...]:
    # An extra: if it is not loaded, none of its errors was raised.
    module = sys.modules.get("amqp.exceptions")
    return () if module is None else (module.NotAllowed, module.ResourceError)


def recoverable_errors(connection: Connection) -> tuple[type[BaseException], ...]:
    """Return the errors that connecting again may mend."""
    return (
        OperationalError,
        OSError,
        *connection.recoverable_connection_errors,
        *connection.recoverable_channel_errors,
    )


def connect(connection: Connection, patience: Patience) -> None:
    """Make sure that `connection` is connected, over its failover list.

    Raises:
        OperationalError: No broker answered within the retry policy.
    """
    while True:
        try:
            # One try of each URL, and no pause of kombu's own: this class pauses.
            rest = max(0, len(connection.alt) - 1)
            connection.ensure_connection(max_retries=rest, interval_start=0)
        except recoverable_errors(connection) as exc:
            if is_refusal(exc) and len(connection.alt) < 2:  # noqa: PLR2004 - the only one
                raise
            patience.pause(exc)
            connection.maybe_switch_next()
        else:
            return
