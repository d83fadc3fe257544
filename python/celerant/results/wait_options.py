"""Options of `get` and `join` that do not change the returned type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

__all__ = ["TaskWaitOptions", "WaitOptions"]


class WaitOptions(TypedDict, total=False):
    """See `ResultSet.get`."""

    no_ack: bool
    on_message: Callable[[dict[str, Any]], Any] | None
    on_interval: Callable[[], Any] | None
    disable_sync_subtasks: bool


class TaskWaitOptions(WaitOptions, total=False):
    """See `AsyncResult.get`."""

    follow_parents: bool
    callback: Callable[[str, Any], Any] | None
