"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from celerant.common.printable import line
from celerant.common.urls import masked
from celerant.doctor import brokers, settings, stores, versions, workers
from celerant.doctor.finding import Finding, problem

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["examine"]


def examine(app: Celerant, *, timeout: float = 1.0) -> Iterator[Finding]:
    """Look at an app and at all that it needs; yield what is found, in order.

    It writes only keys of its own, which it deletes, and declares only queues that
    are there. It takes no message.

    Args:
        app: The app; its tasks are imported.
        timeout: Seconds to wait for one more worker's answer.

    Cost: some 40 round trips, and two or three times `timeout`.
    """
    yield from _guarded("versions", versions.check)
    yield from _guarded("settings", lambda: settings.check(app))
    reach = brokers.Reach()
    yield from _guarded("broker", lambda: brokers.check(app, reach))
    yield from _guarded("store", lambda: stores.check(app, reach))
    if reach.is_up:
        yield from _guarded("workers", lambda: workers.check(app, timeout))


def _guarded(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; if it fails, say so and let the others go on."""
    try:
        yield from check()
    except Exception as exc:  # noqa: BLE001 - whatever the server answers
        text = f"the check ended with {type(exc).__name__}: {line(masked(str(exc)))}"
        yield problem(about, text, "see the error; the checks after it were left out")
