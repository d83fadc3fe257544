"""A bar that shows how many members of a group are done."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from celerant._core import monotonic
from celerant.common.extras import extra

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

__all__ = ["Counted", "ProgressBar", "done_and_failed"]

#: Seconds between two looks, each of which is O(1).
_LOOK_INTERVAL = 0.1
_FAILED = ("FAILURE", "REVOKED", "NOT_SENT", "EXPIRED")


class Counted(Protocol):
    """A group's result, as a bar sees it."""

    id: str

    def counts(self) -> dict[str, int]:
        """Return how many members are in each state."""
        ...

    def get(self, timeout: float | None = None) -> list[Any]:
        """Wait for all values."""
        ...


def done_and_failed(counts: dict[str, int]) -> tuple[int, int, int]:
    """Return how many members there are, are done, and failed."""
    total = sum(counts.values())
    return total, total - counts["PENDING"], sum(counts[name] for name in _FAILED)


class ProgressBar:
    """Shows a group's progress while entered: ``with result.progress_bar(): ...``.

    In a terminal or a notebook it is a bar; anywhere else it is one line of text at
    the end. It asks the result ten times a second, which costs no round trip.

    Args:
        result: A group's result.
        disable: Show nothing.
        console: rich's; by default one on stderr.

    Raises:
        CelerantError: rich is not installed.
    """

    def __init__(
        self,
        result: Counted,
        *,
        disable: bool = False,
        console: Console | None = None,
    ) -> None:
        self._result = result
        self._is_shown = not disable
        self._bar: Any = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._console: Any = console
        if self._is_shown and console is None:
            rich = extra("rich.console", of="ui", needed_by="progress_bar()")
            self._console = rich.Console(stderr=True)

    def __enter__(self) -> Self:
        self._began = monotonic()
        if self._is_shown and (self._console.is_terminal or self._console.is_jupyter):
            self._over.clear()
            self._bar = _bar_on(self._console)
            self._bar.start()
            task = self._bar.add_task(f"group {self._result.id[:8]}", failed="")
            self._thread = threading.Thread(
                target=self._follow, args=(task,), name="celerant-bar", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._bar.stop()
            self._thread = self._bar = None
        elif self._is_shown:
            self._console.print(self.line(), highlight=False, soft_wrap=True)

    def get(self, timeout: float | None = None) -> list[Any]:
        """Wait for all values as the result's own `get`, and show the bar meanwhile.

        Args:
            timeout: Seconds; None waits for ever.
        """
        with self:
            return self._result.get(timeout=timeout)

    def line(self) -> str:
        """Return the state as one line of text."""
        total, done, failed = done_and_failed(self._result.counts())
        seconds = monotonic() - self._began
        told = f", {failed} failed" if failed else ""
        return f"group {self._result.id}: {done} of {total} done{told}, {seconds:.1f} s"

    def _follow(self, task: Any) -> None:
        is_over = False
        while not is_over:
            # Once more after the end, so that the last state stays on the screen.
            is_over = self._over.wait(_LOOK_INTERVAL)
            total, done, failed = done_and_failed(self._result.counts())
            told = f"{failed} failed" if failed else ""
            self._bar.update(task, total=total, completed=done, failed=told)


def _bar_on(console: Any) -> Any:
    progress = extra("rich.progress", of="ui", needed_by="progress_bar()")
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("[red]{task.fields[failed]}"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
    )
