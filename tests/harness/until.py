"""Waiting for what another thread or process does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["until"]

#: Seconds between two looks: nobody tells this process of the change.
_PAUSE = 0.005


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once `condition` holds; fail if it does not within `seconds`."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        pause.wait(_PAUSE)
