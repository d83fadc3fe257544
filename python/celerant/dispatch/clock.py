"""Absolute times of a send: eta and expires, as Celery writes them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from numbers import Real
from typing import Any
from zoneinfo import ZoneInfo

from celerant.config import Settings
from celerant.errors import SettingError

__all__ = ["Times", "moment_of", "times_of", "zone_of"]

logger = logging.getLogger("celerant")


@dataclass(slots=True, frozen=True)
class Times:
    """The moment at which a task may start, and the one at which it is too late."""

    #: ISO 8601, or None.
    eta: str | None
    #: ISO 8601, or None.
    expires: str | None
    #: Milliseconds that the message may wait in its queue, or None.
    expiration_ms: int | None


def zone_of(conf: Settings) -> tzinfo | None:
    """Return the zone in which times are written; None is the machine's own."""
    if conf.timezone:
        zone = conf.timezone
        return zone if isinstance(zone, tzinfo) else ZoneInfo(zone)
    return timezone.utc if conf.enable_utc else None


def times_of(
    *, countdown: float | None, eta: Any, expires: Any, zone: tzinfo | None
) -> Times:
    """Make a send's times absolute, counted from now.

    Args:
        countdown: Seconds from now; 0 means none. Wins over `eta`.
        eta: A datetime, ISO 8601 text, or None.
        expires: Seconds from now, a datetime, ISO 8601 text, or None.
        zone: The zone to write in.
    Raises:
        SettingError: A value of another type.
    """
    now = datetime.now(timezone.utc).astimezone(zone)
    if countdown:
        eta = _later(now, countdown, "countdown")
    expiration_ms = None
    if expires is not None:
        if isinstance(expires, Real) and not isinstance(expires, bool):
            seconds = float(expires)
            expires = _later(now, seconds, "expires")
        else:
            seconds = (moment_of(expires, "expires") - now).total_seconds()
        if seconds < 0:
            logger.warning(
                "expires is %.0f s in the past: the task will be revoked unrun",
                -seconds,
            )
            seconds = 0
        expiration_ms = int(seconds * 1000)
    return Times(_iso(eta, "eta"), _iso(expires, "expires"), expiration_ms)


def _later(now: datetime, seconds: float, name: str) -> datetime:
    try:
        return now + timedelta(seconds=seconds)
    except (OverflowError, ValueError) as exc:
        msg = f"{name} of {seconds} seconds is no time that can be told"
        raise SettingError(msg, name=name) from exc


def moment_of(value: Any, name: str) -> datetime:
    """Return the time of a datetime or a text; one without a zone is UTC.

    Workers read the message's field so, whatever zone the sender is in.
    Source: ``subtract_datetimes`` of celery 5.7.0.

    Args:
        value: A datetime or its ISO 8601 text.
        name: Of the option.

    Raises:
        SettingError: It is neither.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError as exc:
            msg = f"{name} {value!r} is no ISO 8601 time"
            raise SettingError(msg, name=name) from exc
    if not isinstance(value, datetime):
        msg = f"{name} must be a datetime, text or seconds, not {type(value).__name__}"
        raise SettingError(msg, name=name)
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)


def _iso(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, datetime):
        msg = f"{name} must be a datetime or text, not {type(value).__name__}"
        raise SettingError(msg, name=name)
    return value.isoformat()
