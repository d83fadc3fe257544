"""Find the results of a set that become done as records come in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerant.results.tracking.members import Members

__all__ = ["Missing"]


class Missing:
    """Results that are not done yet; each is yielded once, when it is done.

    Args:
        results: The results of tasks and groups; duplicates count once.

    Raises:
        RuntimeError: One of them is sent only after the wait.
    """

    def __init__(self, results: Iterable[Any]) -> None:
        #: For each view, its results by their indices; a group's index is None.
        self._waited: dict[int, tuple[Members, dict[int | None, list[Any]]]] = {}
        #: How many results are not done yet.
        self.left = 0
        for result in {id(result): result for result in results}.values():
            view, index = result.members, result.position
            view.check_waiting()
            _, places = self._waited.setdefault(id(view), (view, {}))
            places.setdefault(index, []).append(result)
            self.left += 1

    def views(self) -> list[Members]:
        """Return the views of results that are not done."""
        return [view for view, places in self._waited.values() if places]

    def done(self) -> Iterator[Any]:
        """Yield the results that are done by now."""
        for view in self.views():
            yield from self.done_of(view, None)

    def done_of(self, view: Members, indices: Sequence[int] | None) -> Iterator[Any]:
        """Yield the results of a view that are done by now.

        Args:
            view: A view that got records.
            indices: The members of the records; None is all members.
        """
        _, places = self._waited[id(view)]
        # Members may be done without records, which shows once their view is complete.
        is_open = indices is None or view.barrier.is_complete
        for index in tuple(places) if is_open else (*(indices or ()), None):
            if index in places and _is_done(view, index):
                for result in places.pop(index):
                    self.left -= 1
                    yield result


def _is_done(view: Members, index: int | None) -> bool:
    return view.barrier.is_complete if index is None else view.is_done(index)
