"""A bar that shows how many members of a group are done."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.common.extras import extra
from celerant.ui.drawing import Drawing, drawing_on
from celerant.ui.telling import Counted, told

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

__all__ = ["ProgressBar"]

#: Seconds between two looks, each of which is O(1).
_LOOK_INTERVAL = 0.1


class ProgressBar:
    """Shows a group's progress while entered: ``with result.progress_bar(): ...``.

    Or from `start` to the group's end.

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
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        #: Whether the line of text is still to come.
        self._is_due = False
        self._console: Any = console
        if self._is_shown and console is None:
            rich = extra("rich.console", of="ui", needed_by="progress_bar()")
            self._console = rich.Console(stderr=True)

    def __enter__(self) -> Self:
        self._began = monotonic()
        drawing = None
        if self._is_shown:
            drawing = drawing_on(self._console, self._result.id)
        self._is_due = self._is_shown and drawing is None
        if drawing is not None:
            self._over.clear()
            # Here and now, so that a notebook has it in this cell.
            self._show(drawing)
            self._thread = threading.Thread(
                target=self._follow, args=(drawing,), name="celerant-bar", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def start(self) -> Self:
        """Show it from now on, until the group is done or `stop` is called.

        In a notebook the bar lives in its cell while other cells run.
        """
        self.__enter__()
        if self._is_shown:
            self._result.then(lambda _result: self._end())
        return self

    def stop(self) -> None:
        """Show it no more; what it showed last stays."""
        self.__exit__(None, None, None)

    def _end(self) -> None:
        self._over.set()
        is_due, self._is_due = self._is_due, False
        if is_due:
            # A group's id is any text, and none of rich's markup.
            self._console.print(
                self.line(), markup=False, emoji=False, highlight=False, soft_wrap=True
            )

    def get(self, timeout: float | None = None) -> list[Any]:
        """Wait for all values as the result's own `get`, and show the bar meanwhile.

        Args:
            timeout: Seconds; None waits for ever.
        """
        with self:
            return self._result.get(timeout=timeout)

    def line(self) -> str:
        """Return the state as one line of text."""
        return self._line(told(self._result))

    def _line(self, seen: Mapping[str, Any]) -> str:
        seconds = monotonic() - self._began
        failed = f", {seen['failed']} failed" if seen["failed"] else ""
        if seen["total"] is None:
            how_many = f"{seen['done']} done, and more are being sent"
        else:
            how_many = f"{seen['done']} of {seen['total']} done"
        return f"group {self._result.id}: {how_many}{failed}, {seconds:.1f} s"

    def _show(self, drawing: Drawing) -> None:
        seen = told(self._result)
        drawing.show(seen, self._line(seen))

    def _follow(self, drawing: Drawing) -> None:
        is_over = False
        while not is_over:
            # Once more after the end, so that the last state stays on the screen.
            is_over = self._over.wait(_LOOK_INTERVAL)
            self._show(drawing)
        drawing.stop()
