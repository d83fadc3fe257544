"""Steps that run one after the other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celerant.canvas.callbacks import listed
from celerant.canvas.signature import (
    Canvas,
    maybe_signature,
    on_commit,
    positional,
)

if TYPE_CHECKING:
    from celerant.canvas.host import Host

__all__ = ["Chain"]

R = TypeVar("R")


class Chain(Canvas[R]):
    """Steps that run one after the other, each with the result of the one before.

    Made by `chain` and ``|``.

    Shape: ``tasks`` are signatures, groups, chords and chains, first to run first.
    """

    __slots__ = ()

    def __init__(
        self, tasks: list[Any], options: Mapping[str, Any], *, app: Host | None = None
    ) -> None:
        super().__init__(
            "celery.chain", (), {"tasks": tasks}, dict(options), "chain", app=app
        )

    def _first(self) -> Any:
        return self.tasks[0] if self.tasks else None

    @property
    def tasks(self) -> list[Any]:
        """The steps."""
        return cast("list[Any]", self["kwargs"]["tasks"])

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self["kwargs"]["tasks"] = list(tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def clone(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Chain[R]:
        """Return a copy whose steps are copies; the first gets the arguments."""
        steps = [maybe_signature(step, self._app) for step in self.tasks]
        copies = [step.clone() for step in steps]
        if copies and (args or kwargs):
            copies[0] = copies[0].clone(args, kwargs)
        merged = copy.deepcopy(self.merged_options(options))
        return Chain(copies, merged, app=self._app)

    def unchained(self, *, is_own: bool = False) -> list[Any]:
        """Return the steps, which carry the chain's callbacks: copies, or its own."""
        steps = [maybe_signature(step, self._app) for step in self.tasks]
        if not is_own:
            steps = [step.clone() for step in steps]
        for callback in listed(self.options.get("link")):
            steps[-1].link(callback)
        for errback in listed(self.options.get("link_error")):
            for step in steps:
                step.link_error(errback)
        return steps

    def link(self, callback: Canvas[Any]) -> Canvas[Any]:
        """Send `callback` with the last step's result; returns it."""
        return self._append("link", callback)

    def link_error(self, errback: Canvas[Any]) -> Canvas[Any]:
        """Call `errback` where any step fails; returns it."""
        return self._append("link_error", errback)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it, as ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Send it; short for ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send the first step; the others travel with it.

        Args:
            args: Prepended to the first step's own.
            kwargs: Override the first step's own.
            options: Of the first step; but `task_id` names the last, `link` follows
                it, and `link_error` is for all.
        Returns:
            The last step's result, whose `parent` leads to the first; None of a chain
            without steps.
        Raises:
            CanvasError: Before anything is sent.
            PublishError: The broker refused or vanished.
        """
        return self.app.sender.send_canvas(
            self, positional(args), kwargs or {}, options
        )

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Any,
    ) -> Any:
        """Send it once Django's transaction is committed; all in it has its id now.

        Args:
            args: As `apply_async`.
            kwargs: As `apply_async`.
            using: The database's alias; None: the default one.
            options: As `apply_async`; times count from the commit.
        Returns:
            The last step's result; after a rollback it says so with `NotSent`, as all
            do that it follows.
        Raises:
            CelerantError: Django is not installed.
            RuntimeError: Later, by `get` inside the same transaction.
            CanvasError, SettingError, TypeError: As `apply_async`, now.
        """
        return on_commit(self, positional(args), kwargs or {}, options, using)

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run the steps here, one after the other; returns the last one's result."""
        return self.app.sender.apply_canvas(
            self, positional(args), kwargs or {}, options
        )

    def freeze(self, task_id: str | None = None) -> Any:
        """Give every step its id for good; returns the result to come."""
        return self.app.sender.freeze_canvas(self, task_id)

    def __copy__(self) -> Chain[R]:
        return self.clone()
