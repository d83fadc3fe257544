"""Apps whose brokers stop to answer, with limits that a test can wait for."""

from __future__ import annotations

from typing import Any

from celerant import Celerant

__all__ = ["NAME", "ONE_RETRY", "STALL", "stalling_app"]

NAME = "celerant-test-stalled"
#: Seconds; more than a loaded machine takes for any answer.
STALL = 2.0
ONE_RETRY: dict[str, Any] = {
    "max_retries": 1,
    "interval_start": 0.05,
    "interval_step": 0,
    "interval_max": 0.05,
}


def stalling_app(broker: str, **settings: Any) -> Celerant:
    """Return an app that gives a silent connection up after `STALL` seconds."""
    limits = {"celerant_stall_timeout": STALL, "broker_connection_timeout": STALL}
    return Celerant(NAME, broker=broker, **limits, **settings)
