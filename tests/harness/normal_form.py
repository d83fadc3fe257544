"""The fields that a comparison of two senders leaves out, each with its row.

`docs/compatibility.md` lists what differs. A comparison may hide nothing else: whatever
leaves something out says so with `hides`, and a test looks for the row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "PAGE",
    "hidden",
    "hides",
    "in_seconds",
    "maps_as_tasks",
    "rows",
    "without_twins",
]

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
F = TypeVar("F", bound=Callable[..., Any])

#: First cells of the rows, and the functions that hide the difference.
_hidden: dict[str, list[str]] = {}

#: Seconds by which a message may be compared later than it was to run.
_LATE_S = 25

_MAPS = ("celery.map", "celery.starmap", "celery.chunks")


def hides(*whats: str) -> Callable[[F], F]:
    """Say which rows of the page a function hides, by their first cells."""

    def marked(function: F) -> F:
        for what in whats:
            _hidden.setdefault(what, []).append(function.__qualname__)
        return function

    return marked


def hidden() -> dict[str, list[str]]:
    """Return all that is hidden, and by which functions."""
    return dict(_hidden)


def rows() -> dict[str, str]:
    """Return the page's rows by their first cells."""
    found = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| "):
            found[line[2:].split(" | ")[0]] = line
    return found


def in_seconds(moment: Any) -> Any:
    """Return a moment as seconds from now, to the next 30.

    Two senders take time, on a busy machine many seconds, and Celery looks after a
    chord one second from now. Up to `_LATE_S` later that moment is told alike.
    """
    try:
        at = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return moment
    if at.tzinfo is None:
        return moment
    ahead = (at - datetime.now(timezone.utc)).total_seconds()
    return f"in {math.ceil((ahead + _LATE_S) / 30) * 30} s, {at.tzinfo}"


@hides("`map`, `starmap` and `chunks` inside a message, or as JSON")
def maps_as_tasks(signature: dict[str, Any]) -> dict[str, Any]:
    """Return a message's form of a canvas in it, a map as the task that it is."""
    if signature.get("task") not in _MAPS or "subtask_type" not in signature:
        return signature
    options = {k: v for k, v in signature["options"].items() if k != "route_name"}
    return {**signature, "options": options, "subtask_type": None}


@hides("an errback that a task has already, in a canvas from JSON")
def without_twins(value: Any) -> Any:
    """Return plain data in which no task has one errback twice."""
    if isinstance(value, dict):
        return {
            name: _once(part) if name in {"errbacks", "link_error"} else part
            for name, part in ((k, without_twins(v)) for k, v in value.items())
        }
    if isinstance(value, list):
        return [without_twins(part) for part in value]
    return value


def _once(errbacks: Any) -> Any:
    if not isinstance(errbacks, list):
        return errbacks
    return [one for at, one in enumerate(errbacks) if one not in errbacks[:at]]
