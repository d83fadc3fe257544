"""Run all checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from celerant.common.printable import line
from celerant.common.urls import masked_text
from celerant.doctor import brokers, settings, stores, versions, workers
from celerant.doctor.finding import Finding, problem

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["examine"]


def examine(app: Celerant, *, timeout: float = 1.0) -> Iterator[Finding]:
    """Check an app and its servers; yield the findings in order.

    It writes only its own keys, and deletes them. It declares only queues that exist,
    and takes no message.

    Args:
        app: The app; its tasks are imported.
        timeout: Seconds to wait for each next worker's answer.

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
    """Yield a check's findings; if the check raises, that is a finding too."""
    try:
        yield from check()
    except Exception as exc:  # noqa: BLE001 - a server may answer anything
        text = (
            f"the check ended with {type(exc).__name__}: {line(masked_text(str(exc)))}"
        )
        yield problem(about, text, "see the error; the checks after it were left out")
