"""Canvases with one result: a task, a chain, a chord."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from celerant.canvas.base import Canvas, check_callback

if TYPE_CHECKING:
    from celerant.canvas.chain import Chain
    from celerant.results.async_result import AsyncResult

__all__ = ["Single"]

R = TypeVar("R")
_C = TypeVar("_C", bound="Canvas[Any]")
_S = TypeVar("_S")


class Single(Canvas[R, "AsyncResult[R]"]):
    """A canvas whose end is one task, with the value `R`.

    (A chain that ends in a group has the group's `GroupResult`; before the send its
    type is Any.)
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        return True

    def freeze(self, task_id: str | None = None) -> AsyncResult[R]:
        """Give all in it their ids for good; returns its result."""
        named: dict[str, Any] = {} if task_id is None else {"task_id": task_id}
        result: AsyncResult[R] = self.app.sender.freeze(self, named)
        return result

    def link(self, callback: _C) -> _C:
        """Send `callback` with the result once it has succeeded; returns it."""
        check_callback(self, "link", callback)
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: _C) -> _C:
        """Call `errback` if any task in it fails; returns it."""
        check_callback(self, "link_error", errback)
        return self.append_to_list_option("link_error", errback)

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # no dict's
        def __or__(self, other: Single[_S]) -> Chain[_S]: ...
        @overload
        def __or__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        # Beside it, because mypy first asks the right side's class.
        def __ror__(self, other: Any) -> Any: ...
