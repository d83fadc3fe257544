"""Bars that are drawn over and over: in a terminal by rich, in a notebook as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from celerant.common.extras import extra
from celerant.markup import shares

__all__ = ["Drawing", "drawing_on"]


class Drawing(Protocol):
    """A bar that is shown."""

    def show(self, told: Mapping[str, Any], line: str) -> None:
        """Show the state of a group.

        Args:
            told: See `celerant.ui.telling.told`.
            line: The same as one line of text.
        """

    def stop(self) -> None:
        """Leave what was shown last."""


class _Terminal:
    def __init__(self, console: Any, group_id: str) -> None:
        progress = extra("rich.progress", of="ui", needed_by="progress_bar()")
        self._bar: Any = progress.Progress(
            # A group's id is any text, and none of rich's markup.
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("[red]{task.fields[failed]}"),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
        )
        self._bar.start()
        # Without a total the bar moves to and fro.
        self._task = self._bar.add_task(f"group {group_id[:8]}", total=None, failed="")

    def show(self, told: Mapping[str, Any], line: str) -> None:  # noqa: ARG002 - a notebook's
        failed = f"{told['failed']} failed" if told["failed"] else ""
        self._bar.update(
            self._task, total=told["total"], completed=told["done"], failed=failed
        )

    def stop(self) -> None:
        self._bar.stop()


class _Notebook:
    """One output of a cell that is updated by its name, whatever cell runs now.

    rich would need ipywidgets, and takes what other cells print meanwhile into the bar.
    """

    def __init__(self) -> None:
        self._tools: Any = import_module("IPython.display")
        self._handle: Any = None
        self._shown = ""

    def show(self, told: Mapping[str, Any], line: str) -> None:
        html = shares(line, told["counts"])
        if html == self._shown:
            return
        self._shown = html
        if self._handle is None:
            self._handle = self._tools.display(self._tools.HTML(html), display_id=True)
        else:
            self._handle.update(self._tools.HTML(html))

    def stop(self) -> None:
        # It stays as it is, also in the saved notebook.
        pass


def drawing_on(console: Any, group_id: str) -> Drawing | None:
    """Return a bar on a rich console; None if none can be drawn there."""
    if console.is_jupyter:
        return _Notebook()
    return _Terminal(console, group_id) if console.is_terminal else None
