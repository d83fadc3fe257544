"""The results of a set, as a list that can be changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from celerant.context.apps import current_app

if TYPE_CHECKING:
    from celerant.results.async_result import AsyncResult
    from celerant.results.backends.base import Backend

__all__ = ["Collection"]

R = TypeVar("R")

#: The most results that a `repr` names.
_SHOWN = 5


class Collection(Generic[R]):  # noqa: PLW1641 - its results change
    """Results in an order, each once; see `ResultSet`."""

    __slots__ = ("_app", "_results", "parent")

    #: Whether its results are waited for together.
    supports_native_join = True

    def __init__(
        self,
        results: Iterable[AsyncResult[R]],
        app: Any = None,
        ready_barrier: Any = None,  # noqa: ARG002 - Celery's
    ) -> None:
        self._results = results if isinstance(results, list) else list(results)
        self._app = app
        #: The result before them, if there is one.
        self.parent: Any = None

    @property
    def results(self) -> list[AsyncResult[R]]:
        """The results, in order."""
        return self._results

    @property
    def app(self) -> Any:
        """The app that has the tasks."""
        return self._own_app() if self._app is None else self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    def _own_app(self) -> Any:
        return self._results[0].app if self._results else current_app()

    @property
    def backend(self) -> Backend:
        """The store of the results; if there are several, the first one's."""
        backend: Backend
        backend = self.results[0].backend if self.results else self.app.backend
        return backend

    # The results.

    def add(self, result: AsyncResult[R]) -> None:
        """Append a result, unless it is there."""
        held = self._changeable()
        if result not in held:
            held.append(result)

    def remove(self, result: AsyncResult[R] | str) -> None:
        """Remove a result, which may be given by its id.

        Raises:
            KeyError: The result is not there.
        """
        try:
            # A result equals its id.
            self._changeable().remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: AsyncResult[R] | str) -> None:
        """Remove a result, which may be given by its id, if it is there."""
        if result in self._changeable():
            self.remove(result)

    def update(self, results: Iterable[AsyncResult[R]]) -> None:
        """Append the results that are not there."""
        held = self._changeable()
        known = {result.id for result in held}
        for result in results:
            if result.id not in known:
                known.add(result.id)
                held.append(result)

    def clear(self) -> None:
        """Remove all results; the list stays the same object."""
        self._changeable().clear()

    def _changeable(self) -> list[Any]:
        return self._results

    # The methods of a sequence.

    def __len__(self) -> int:
        return len(self.results)

    def __bool__(self) -> bool:
        return bool(self.results)

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        return iter(self.results)

    @overload
    def __getitem__(self, index: int) -> AsyncResult[R]: ...
    @overload
    def __getitem__(self, index: slice) -> list[AsyncResult[R]]: ...
    def __getitem__(self, index: int | slice) -> AsyncResult[R] | list[AsyncResult[R]]:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Collection):
            return self.results == other.results
        return NotImplemented

    def __repr__(self) -> str:
        results = self.results
        shown = [result.id for result in results[:_SHOWN]]
        if len(results) > _SHOWN:
            shown.append(f"... {len(results) - _SHOWN} more")
        return f"<{type(self).__name__}: [{', '.join(shown)}]>"
