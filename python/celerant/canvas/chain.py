"""Steps that run one after the other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celerant.canvas.base import maybe_signature, positional
from celerant.canvas.single import Single
from celerant.common.listed import listed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.canvas.host import Host
    from celerant.canvas.options import SendOptions
    from celerant.results.async_result import AsyncResult

__all__ = ["Chain"]

R = TypeVar("R")


class Chain(Single[R]):
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
        **options: Unpack[SendOptions],
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

    unchain_tasks = unchained

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send it, as ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult[R]:
        """Send the first step; the others travel with it.

        Args:
            args: Prepended to the first step's own.
            kwargs: Override the first step's own.
            options: Of the first step; but `task_id` names the last, `link` follows
                it, and `link_error` is for all.
        Returns:
            The last step's result, whose `parent` leads to the first; a `GroupResult`
            where that step is a group; None of a chain without steps.
        Raises:
            CanvasError: Before anything is sent.
            PublishError: The broker refused or vanished.
        """
        sent = self.app.sender.send_canvas(
            self, positional(args), kwargs or {}, options
        )
        return cast("AsyncResult[R]", sent)
