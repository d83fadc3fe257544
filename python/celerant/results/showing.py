"""Show a group's result in notebooks and by a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.markup import shares
from celerant.results.tracking.member_values import STATE_NAMES

if TYPE_CHECKING:
    from rich.console import Console

    from celerant.results.tracking.members import Members
    from celerant.ui.bar import ProgressBar

__all__ = ["Showing"]


class Showing:
    """The part of `GroupResult` that people see."""

    __slots__ = ()

    if TYPE_CHECKING:
        id: str
        members: Members

    def _repr_html_(self) -> str:
        """Return the members' known states as HTML for a notebook; asks no store."""
        barrier = self.members.barrier
        counts = dict(zip(STATE_NAMES, barrier.counts(), strict=True))
        is_known = self.members.is_watched or barrier.remaining < len(barrier)
        told = "" if is_known or not len(barrier) else ", not looked at"
        return shares(f"group {self.id}: {len(barrier):,} members{told}", counts)

    def progress_bar(
        self, *, disable: bool = False, console: Console | None = None
    ) -> ProgressBar:
        """Return a progress bar, which is shown in its ``with`` block.

        Use ``with result.progress_bar(): ...`` or ``result.progress_bar().get()``, or
        ``result.progress_bar().start()``, which goes on until the group is done. In a
        terminal or a notebook it is a bar, elsewhere one line of text at the end.

        Args:
            disable: Whether to show no bar.
            console: rich's; by default one on stderr.

        Raises:
            CelerantError: rich is not installed (the extra ``ui``).
        """
        from celerant.ui.bar import ProgressBar  # noqa: PLC0415 - rich is an extra

        result: Any = self
        return ProgressBar(result, disable=disable, console=console)
