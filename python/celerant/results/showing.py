"""A group's result as people see it: a bar of progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from celerant.ui.bar import ProgressBar

__all__ = ["Showing"]


class Showing:
    """The part of `GroupResult` that people look at."""

    __slots__ = ()

    def progress_bar(
        self, *, disable: bool = False, console: Console | None = None
    ) -> ProgressBar:
        """Return a bar of this group's progress, shown while entered.

        ``with result.progress_bar(): ...``, or ``result.progress_bar().get()``. A bar
        in a terminal or a notebook; anywhere else one line of text at the end.

        Args:
            disable: Show nothing.
            console: rich's; by default one on stderr.

        Raises:
            CelerantError: rich is not installed (the extra ``ui``).
        """
        from celerant.ui.bar import ProgressBar  # noqa: PLC0415 - for those that look

        result: Any = self
        return ProgressBar(result, disable=disable, console=console)
