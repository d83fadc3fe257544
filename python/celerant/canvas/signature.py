"""A call as data: a task's name, its arguments and its options."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from celerant.canvas.data import CanvasData, maybe_signature
from celerant.canvas.kinds import Kind
from celerant.canvas.single import Single
from celerant.config import suggestion
from celerant.errors import NotRegistered

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.canvas.options import SendOptions
    from celerant.context.host import App
    from celerant.results.async_result import AsyncResult

__all__ = ["Signature", "signature"]

R = TypeVar("R")

_new, _update = dict.__new__, dict.update
#: The keys of a call without options, in their order.
_BLANK: dict[str, Any] = {
    "task": "",
    "args": (),
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}


class Signature(Single[R], kind=Kind(None, {}, is_composed=False)):
    """One task with its arguments and options, not yet sent.

    ``add.s(1, 2)`` makes one; it can be sent any number of times, each time under
    a new id.
    """

    __slots__ = ()

    @staticmethod
    def of_call(
        task: str, args: tuple[Any, ...], kwargs: dict[str, Any], app: App
    ) -> Signature[Any]:
        """Make one without options.

        In two thirds of the time of `__init__`: programs make one for each member.
        """
        made: Signature[Any] = _new(Signature)
        # Into an empty dict, it copies all keys at once.
        _update(made, _BLANK)
        made["task"] = task
        made["args"] = args
        made["kwargs"] = kwargs
        made["options"] = {}
        made._app = app
        return made

    def merged(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments, merged with a call's.

        Positional ones are prepended, keywords override; an immutable signature
        keeps its own.
        """
        if self["immutable"]:
            return self.args, self.kwargs
        own = self["kwargs"]
        return (*args, *self["args"]), {**own, **kwargs} if kwargs else dict(own)

    def clone(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Signature[R]:
        """Return a copy with arguments and options merged in as by a call."""
        if not (args or kwargs or options or self["options"]):
            # Most steps of chains; it takes half the time of merging.
            merged_args, merged_kwargs, merged = self["args"], self["kwargs"], {}
        else:
            merged_args, merged_kwargs = self.merged(tuple(args or ()), kwargs)
            merged = copy.deepcopy(self.merged_options(options))
        return Signature(
            self["task"],
            tuple(merged_args),
            dict(merged_kwargs),
            merged,
            self["subtask_type"],
            immutable=bool(self["immutable"]),
            app=self._app,
        )

    @property
    def type(self) -> Any:
        """The registered task that it calls.

        Raises:
            NotRegistered: The task's code is not here.
        """
        try:
            return self.app.tasks[self.task]
        except KeyError:
            near = suggestion(str(self.task), frozenset(self.app.tasks))
            msg = (
                f"task {self.task!r} is not registered here{near}: send it by name "
                "instead"
            )
            raise NotRegistered(msg) from None

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - Celery's name
        """Return the result of a task of this kind by its id."""
        result: AsyncResult[R] = self.app.AsyncResult(task_id)
        return result

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run the task's function here, as ``task(*args, **kwargs)`` would."""
        merged_args, merged_kwargs = self.merged(args, kwargs)
        task = self.type
        value: R = task(*merged_args, **merged_kwargs)
        return value

    def __repr__(self) -> str:
        return self.reprcall()

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return maybe_signature(copy.deepcopy(dict(self), memo), self._app)

    @classmethod
    def _rebuilt(cls, plain: Mapping[str, Any], app: App | None) -> Any:
        return Signature(
            plain["task"],
            plain.get("args") or (),
            dict(plain.get("kwargs") or {}),
            dict(plain.get("options") or {}),
            plain.get("subtask_type"),
            immutable=bool(plain.get("immutable")),
            app=app,
        )


def signature(  # noqa: PLR0913 - Celery's, and an app
    task: Any,
    args: tuple[Any, ...] | list[Any] | None = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    app: App | None = None,
    **more: Unpack[SendOptions],
) -> Any:
    """Make a signature of a task, rebuild one from a dict, or clone one.

    Args:
        task: A task or its name, or a canvas; it may be in plain dicts.
        args: Positional arguments.
        kwargs: Keyword arguments.
        options: Options of the send.
        immutable: Whether it ignores the arguments of a call.
        app: The app that has the task; None: the task's own, else the app made last.
        more: Options by name.
    Returns:
        A `Signature`, or the canvas that the dict describes.
    Raises:
        CanvasError: The dict is no signature.
    """
    if isinstance(task, CanvasData):
        return task.clone()
    if isinstance(task, Mapping):
        return maybe_signature(task, app)
    return Signature(
        task,
        tuple(args or ()),
        dict(kwargs or {}),
        {**(options or {}), **more},
        immutable=immutable,
        app=app,
    )
