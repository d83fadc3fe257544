"""Waiting for other threads and processes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until", "until_in_loop"]

T = TypeVar("T")

#: Seconds between two looks: nobody tells this process of the change.
_PAUSE = 0.005


def until(condition: Callable[[], T], seconds: float = 10.0) -> T:
    """Return the value of `condition` once it is true.

    Raises:
        AssertionError: It is not true within `seconds`.
    """
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        pause.wait(_PAUSE)
    return found


async def until_in_loop(condition: Callable[[], T], seconds: float = 10.0) -> T:
    """Do the same as `until`, and let the event loop run meanwhile."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        await asyncio.sleep(_PAUSE)
    return found
