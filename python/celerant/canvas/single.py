"""What has one result: a task, a chain, a chord."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from celerant.canvas.base import Canvas, check_callback, on_commit, positional

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from celerant.canvas.chain import Chain
    from celerant.canvas.options import ApplyOptions, SendOptions
    from celerant.results.async_result import AsyncResult

__all__ = ["Single"]

R = TypeVar("R")
_C = TypeVar("_C", bound="Canvas[Any]")
_S = TypeVar("_S")


class Single(Canvas[R]):
    """A canvas whose end is one task, with the value `R`.

    (A chain that ends in a group has that one's `GroupResult`; what is known of it
    before it is sent is Any.)
    """

    __slots__ = ()

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send it; short for ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult[R]:
        """Send it once Django's transaction is committed; all in it has its id now.

        A generator is held. Outside of a transaction it is sent at once. After a
        rollback nothing was sent, and the result says so with `NotSent`, as all do that
        it follows.

        Args:
            args: As `apply_async`.
            kwargs: As `apply_async`.
            using: The database's alias; None: the default one.
            options: As `apply_async`; times count from the commit.
        Raises:
            CelerantError: Django is not installed.
            RuntimeError: Later, by `get` inside the same transaction.
            CanvasError, SettingError, TypeError: As `apply_async`, now.
        """
        self._check()
        sent = on_commit(self, positional(args), kwargs or {}, options, using)
        return cast("AsyncResult[R]", sent)

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[ApplyOptions],
    ) -> AsyncResult[R]:
        """Run all in it here, one after the other; return the last one's result.

        Args:
            args: As `apply_async`.
            kwargs: As `apply_async`.
            options: As `apply_async`, and `throw`: raise what a task raises.
        """
        self._check()
        ran = self.app.sender.apply_canvas(
            self, positional(args), kwargs or {}, options
        )
        return cast("AsyncResult[R]", ran)

    def freeze(self, task_id: str | None = None) -> AsyncResult[R]:
        """Give all in it its id for good and return the result it will have."""
        self._check()
        frozen = self.app.sender.freeze_canvas(self, task_id)
        return cast("AsyncResult[R]", frozen)

    def link(self, callback: _C) -> _C:
        """Send `callback` with the result once it has succeeded; returns it."""
        check_callback(self, "link", callback)
        return self._append("link", callback)

    def link_error(self, errback: _C) -> _C:
        """Call `errback` where any task in it fails; returns it."""
        check_callback(self, "link_error", errback)
        return self._append("link_error", errback)

    def _check(self) -> None:
        """Refuse what cannot be sent as it is.

        Raises:
            CanvasError: It cannot.
        """

    def __copy__(self) -> Self:
        # Pickling drops the app; a copy in this process keeps it.
        made: Self = self.clone()
        return made

    if TYPE_CHECKING:

        def apply_async(
            self,
            args: tuple[Any, ...] | list[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Unpack[SendOptions],
        ) -> AsyncResult[R]:
            """Send it."""

        @overload  # type: ignore[override]  # no dict's
        def __or__(self, other: Single[_S]) -> Chain[_S]: ...
        @overload
        def __or__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        # Beside it, for mypy asks first for what a class itself says of the right side.
        def __ror__(self, other: Any) -> Any: ...
