"""Read the settings that say how long records are kept."""

from __future__ import annotations

import math
from datetime import timedelta

from celerant.common.printable import shown
from celerant.errors import SettingError

__all__ = ["seconds_to_live"]


def seconds_to_live(name: str, value: float | timedelta | None) -> int:
    """Return a setting's time to live in whole seconds, rounded up; 0 is for ever.

    Raises:
        SettingError: The value is no time to live.
    """
    if value is None:
        return 0
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds == math.inf:
        return 0
    try:
        if seconds >= 0:
            return math.ceil(seconds)
    except (TypeError, ValueError, OverflowError):
        pass
    msg = (
        f"{name} must be a number of seconds or a timedelta from 0 on, or None for "
        f"ever, not {shown(value)}"
    )
    raise SettingError(msg, name=name)
