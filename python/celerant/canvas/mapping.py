"""One task over many arguments, many to a message: `Task.map`, `starmap`, `chunks`.

Source: ``xmap``, ``xstarmap`` and ``chunks`` of ``celery.canvas``, celery 5.7.0.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, cast

from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.canvas.kinds import Kind, register
from celerant.canvas.plain import plain
from celerant.canvas.signature import Signature
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Unpack

    from celerant.canvas.options import SendOptions
    from celerant.context.host import App
    from celerant.results.group_result import GroupResult

__all__ = ["chunks", "mapped", "xmap", "xstarmap"]


for _name in ("xmap", "xstarmap"):
    register(Kind(_name, {"task": "called"}, is_composed=False), Signature)


def mapped(
    task: Signature[Any], items: Iterable[Any], *, star: bool, app: App | None = None
) -> Signature[Any]:
    """Return the signature of one message whose worker calls `task` for every item.

    Args:
        task: The task as a signature; its arguments and options are ignored, as in
            Celery.
        items: All of them travel in the message.
        star: Whether an item is a tuple of arguments.
        app: The app that has the task; None: the signature's.
    """
    return Signature(
        "celery.starmap" if star else "celery.map",
        (),
        {"task": plain(task), "it": list(items)},
        # The route that the task itself would take.
        {"route_name": task.task},
        "xstarmap" if star else "xmap",
        immutable=True,
        app=task.own_app if app is None else app,
    )


def xmap(
    task: Signature[Any],
    it: Iterable[Any],
    app: App | None = None,
    **options: Unpack[SendOptions],
) -> Signature[list[Any]]:
    """Make one signature that calls a task with each item, in one worker.

    Args:
        task: The task as a signature; see also `Task.map`.
        it: The items; all of them travel in the message.
        app: The app that has the task; None: the signature's.
        options: Options of the send.
    """
    task = maybe_signature(task, app)
    return mapped(task, it, star=False, app=app).set(**options)


def xstarmap(
    task: Signature[Any],
    it: Iterable[Iterable[Any]],
    app: App | None = None,
    **options: Unpack[SendOptions],
) -> Signature[list[Any]]:
    """Make one signature that calls a task with each item's arguments; see `xmap`."""
    task = maybe_signature(task, app)
    return mapped(task, it, star=True, app=app).set(**options)


class chunks(  # noqa: N801 - Celery's name
    Signature[Any], kind=Kind("chunks", {"task": "called"}, is_composed=False)
):
    """Items in parts of `n`: sent, it is a group of one message for each part.

    As a step of a chain or a callback it is one task, whose worker sends the group.
    """

    __slots__ = ()

    def __init__(
        self,
        task: Signature[Any],
        it: Iterable[Iterable[Any]],
        n: int,
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            msg = f"chunks of {task['task']}: n must be a positive number, not {n!r}"
            raise CanvasError(msg, path="chunks")
        super().__init__(
            "celery.chunks",
            (),
            {"task": maybe_signature(task, app), "it": list(it), "n": n},
            options,
            "chunks",
            immutable=True,
            app=app,
        )

    def group(self) -> group[list[Any]]:
        """Return the group that it stands for; its results are lists."""
        task, size = self.kwargs["task"], self.kwargs["n"]
        items = iter(self.kwargs["it"])
        parts = iter(lambda: list(itertools.islice(items, size)), [])
        return group([mapped(task, part, star=True) for part in parts], app=self._app)

    def apply_async(  # type: ignore[override]  # Celery's form: a group's result
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> GroupResult[list[Any]]:
        """Send the group.

        Returns:
            The group's result; one task's result if something follows it.
        """
        merged = self.merged_options(options)
        if "chain" in merged or "chord" in merged or merged.get("link"):
            merged.setdefault("route_name", self.kwargs["task"].task)
            one: Any = Signature(self.task, (), self.kwargs, app=self._app)
            return cast("GroupResult[list[Any]]", one.apply_async(**merged))
        return self.group().apply_async(args, kwargs, **merged)

    def clone(
        self,
        args: tuple[Any, ...] = (),  # noqa: ARG002 - it is immutable
        kwargs: Mapping[str, Any] | None = None,  # noqa: ARG002
        **options: Unpack[SendOptions],
    ) -> chunks:
        """Return a copy with options merged in as by a call."""
        merged = copy.deepcopy(self.merged_options(options))
        task, items, n = (self.kwargs[key] for key in ("task", "it", "n"))
        return chunks(task, items, n, app=self._app, **merged)

    def __call__(self, *args: Any, **options: Unpack[SendOptions]) -> Any:
        """Send the group; keywords are options here, as in Celery."""
        return self.apply_async(args, **options)

    @classmethod
    def _rebuilt(cls, plain: Mapping[str, Any], app: App | None) -> Any:
        task, items, n = (plain["kwargs"][key] for key in ("task", "it", "n"))
        return chunks(task, items, n, app).set(**(plain.get("options") or {}))
