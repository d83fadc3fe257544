"""Steps that run one after the other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from celerant.canvas.composing import chained
from celerant.canvas.data import maybe_signature
from celerant.canvas.kinds import Kind
from celerant.canvas.single import Single
from celerant.common.listed import listed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.canvas.base import Canvas
    from celerant.canvas.group import group
    from celerant.canvas.options import SendOptions
    from celerant.context.host import App
    from celerant.results.async_result import AsyncResult

__all__ = ["Chain", "chain"]

R = TypeVar("R")


class Chain(Single[R], kind=Kind("chain", {"tasks": "step"})):
    """Steps that run one after the other, each with the result of the one before.

    Made by `chain` and ``|``.

    Shape: ``tasks`` are signatures, groups, chords and chains, first to run first.
    """

    __slots__ = ()

    def __init__(
        self, tasks: list[Any], options: Mapping[str, Any], *, app: App | None = None
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

    @classmethod
    def _rebuilt(cls, plain: Mapping[str, Any], app: App | None) -> Any:
        steps = [maybe_signature(step, app) for step in plain["kwargs"]["tasks"]]
        return Chain(steps, plain.get("options") or {}, app=app)


class _Chains:
    """Make a canvas whose steps run one after the other, each with the last's result.

    ``chain(a, b, c)`` is ``a | b | c``.

    Args:
        tasks: Signatures, groups, chords and chains, or one iterable of them.
        options: The chain's; `task_id` names the last step, `link` is called after it,
            `link_error` if any step fails.
    Returns:
        As in Celery, a chain; a chord if a group comes before the last step; a group if
        the group alone is left.
    Raises:
        CanvasError: A step that is no canvas, or more chords than can follow one
            another.
    """

    @overload
    def __call__(
        self,
        *tasks: Unpack[tuple[Unpack[tuple[Canvas[Any], ...]], Single[R]]],
        app: Any = None,
        **options: Unpack[SendOptions],
    ) -> Chain[R]: ...
    @overload
    def __call__(
        self,
        *tasks: Unpack[tuple[Unpack[tuple[Canvas[Any], ...]], group[Any]]],
        app: Any = None,
        **options: Unpack[SendOptions],
    ) -> Any: ...
    @overload
    def __call__(
        self, *tasks: Any, app: Any = None, **options: Unpack[SendOptions]
    ) -> Chain[Any]: ...
    def __call__(  # type: ignore[misc]  # mypy does not see that Any takes such tuples
        self, *tasks: Any, app: Any = None, **options: Any
    ) -> Any:
        return chained(tasks, options, app)

    @staticmethod
    def from_dict(d: Mapping[str, Any], app: Any = None) -> Any:
        """Return the canvas that a plain dict describes, of the kind that it says."""
        return maybe_signature(d, app)


# It is no class, since it makes a chain, a chord or a group.
chain = _Chains()
