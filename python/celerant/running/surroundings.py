"""Context managers around every task that a worker runs in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

__all__ = ["run_inside", "surrounded"]

Surrounding = Callable[[], AbstractContextManager[None]]

_surroundings: list[Surrounding] = []


def run_inside(surrounding: Surrounding) -> None:
    """Enter `surrounding` around every task from now on, and only once."""
    if surrounding not in _surroundings:
        _surroundings.append(surrounding)


def surrounded(task: Callable[..., Any]) -> Callable[..., Any]:
    """Return `task` inside all surroundings; itself if there are none."""
    if not _surroundings:
        return task

    def run(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as entered:
            for surrounding in _surroundings:
                entered.enter_context(surrounding())
            try:
                return task(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001 - raised again below
                # Not through `contextlib`: that sets attributes of it, which a frozen
                # dataclass refuses.
                raised = exc
        raise raised

    return run
