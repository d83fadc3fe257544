"""Methods of Celery's results that are seldom used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from celerant.results.recorded import Recorded
from celerant.results.tree import iterdeps

__all__ = ["FamiliarResult"]


class FamiliarResult(Recorded):
    """The lesser methods of `AsyncResult`."""

    __slots__ = ()

    @property
    @abstractmethod
    def result(self) -> Any:
        """The value, a failed task's exception, or the data of an unfinished one."""

    @property
    @abstractmethod
    def ignored(self) -> bool:
        """Whether the task's result is not stored."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the task is done, successfully or not."""

    @abstractmethod
    def successful(self) -> bool:
        """Whether the task returned a value."""

    def iterdeps(
        self,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's form
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (parent, result) for this result and all that its tasks have sent.

        Args:
            intermediate: Whether to skip tasks that are not done.

        Raises:
            IncompleteStream: A task is not done, and `intermediate` is False.
        """
        return iterdeps(self, intermediate=intermediate)

    def collect(
        self,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's form
        **options: Any,
    ) -> Iterator[tuple[Any, Any]]:
        """Wait for this result and all that its tasks have sent.

        Args:
            intermediate: As for `iterdeps`.
            options: The options of each `get`.

        Yields:
            Each result with its value.

        Raises:
            Exception: As for `get`.
        """
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**options)

    def get_leaf(self) -> Any:
        """Wait as `collect` does, and return the last value."""
        value = None
        for _, value in self.collect():  # noqa: B007 - the last one is returned
            pass
        return value

    def maybe_throw(
        self,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        callback: Callable[[str, Any], Any] | None = None,
    ) -> Any:
        """Raise the task's exception, if it has one; else return `result`.

        Args:
            propagate: False returns the exception.
            callback: Called with the id and the returned value.
        """
        value = self.result
        if propagate and self._has_raised():
            # Read again: the task may have ended in between.
            raise self.result
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def throw(self, exc: BaseException | None = None, *_: Any) -> NoReturn:
        """Raise an exception: the given one, else the task's.

        Raises:
            RuntimeError: No exception is given, and the task has not failed.
        """
        value = self.result if exc is None and self._has_raised() else exc
        if isinstance(value, BaseException):
            raise value
        msg = f"task {self.id} has raised nothing"
        raise RuntimeError(msg)

    def _has_raised(self) -> bool:
        """Whether the task is over and `result` is the reason why it has no value.

        Its state decides, since a task may have returned an exception.
        """
        return self.ready() and not (self.successful() or self.ignored)

    def revoke_by_stamped_headers(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        headers: Mapping[str, Any],
        connection: Any = None,
        terminate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        signal: str | int | None = None,
        wait: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        timeout: float | None = None,
    ) -> None:
        """Keep all tasks with these stamps from running, even if this one has none.

        Args:
            headers: A value or a list of values for each stamped header.
            connection: As for `revoke`.
            terminate: As for `revoke`.
            signal: As for `revoke`.
            wait: As for `revoke`.
            timeout: As for `revoke`.
        """
        self.backend.revoke_by_stamped_headers(
            headers,
            terminate=terminate,
            signal=signal,
            connection=connection,
            reply=wait,
            timeout=timeout,
        )
