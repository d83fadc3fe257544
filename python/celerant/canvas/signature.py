"""A call as data: which task, with what, and how it is sent."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from celerant.canvas.host import Host, current_app
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.result import AsyncResult

__all__ = ["Canvas", "Signature", "maybe_signature", "positional", "signature"]

R = TypeVar("R")

#: Options that a call cannot override once a signature carries them.
_IMMUTABLE_OPTIONS = frozenset({"group_id", "stamped_headers"})


class Canvas(dict[str, Any]):
    """What signatures and groups share: six keys, options and an app.

    Shape: `task`, `args`, `kwargs`, `options`, `subtask_type` and `immutable`, as
    Celery writes them, so that both read each other's canvases.
    Source: ``celery.canvas.Signature`` of celery 5.7.0.
    """

    __slots__ = ("_app",)

    _app: Host | None

    def __init__(  # noqa: PLR0913 - the six keys of the format
        self,
        task: str,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        subtask_type: str | None = None,
        *,
        immutable: bool = False,
        app: Host | None = None,
    ) -> None:
        super().__init__(
            task=task,
            args=args,
            kwargs={} if kwargs is None else kwargs,
            options={} if options is None else options,
            subtask_type=subtask_type,
            immutable=immutable,
        )
        self._app = app

    @property
    def app(self) -> Host:
        """The app this canvas is sent through: its own, else the one made last."""
        return current_app() if self._app is None else self._app

    @property
    def task(self) -> str:
        """Name of the task."""
        name: str = self["task"]
        return name

    @property
    def options(self) -> dict[str, Any]:
        """How it is sent; Celery's names."""
        options: dict[str, Any] = self["options"]
        return options

    @property
    def immutable(self) -> bool:
        """Whether the arguments of a call are ignored."""
        return bool(self["immutable"])

    @property
    def id(self) -> str | None:
        """The id it was given by hand or by `freeze`, if any."""
        return self.options.get("task_id")

    def set(self, *, immutable: bool | None = None, **options: Any) -> Self:
        """Change options in place and return self."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's name and form
        """Say whether the arguments of a call are ignored."""
        self["immutable"] = immutable

    def merged_options(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return own options overlaid by those of a call.

        What is None in the call is dropped; `group_id` and stamps stay.
        """
        own = self.options
        if not call:
            return dict(own)
        fixed = _IMMUTABLE_OPTIONS.union(own.get("stamped_headers") or ())
        return {
            **own,
            **{
                name: value
                for name, value in call.items()
                if value is not None and not (name in fixed and name in own)
            },
        }

    def __or__(self, other: Any) -> NoReturn:
        """Refuse `|`, which would merge two signatures as dicts and lose one.

        Raises:
            CanvasError: Always: chains are not there yet.
        """
        msg = (
            f"{self.task} | ...: chains and chords cannot be made yet; send the steps "
            "one after the other, or build the chain with Celery's own signatures"
        )
        raise CanvasError(msg)

    __ror__ = __or__
    __ior__ = __or__

    def __json__(self) -> dict[str, Any]:
        """Return the plain dict that kombu's encoder writes."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _rebuild(copy.deepcopy(dict(self), memo), self._app)


class Signature(Canvas, Generic[R]):
    """One task with its arguments and options, not yet sent.

    ``add.s(1, 2)`` makes one; it can be sent any number of times, each time under
    a new id.
    """

    __slots__ = ()

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return tuple(self["args"])

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    def merged(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with those of a call merged in.

        Positional ones are prepended, keywords override; an immutable signature
        keeps its own.
        """
        if self.immutable:
            return self.args, self.kwargs
        return (*args, *self.args), {**self.kwargs, **(kwargs or {})}

    def clone(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature[R]:
        """Return a copy with arguments and options merged in as by a call."""
        merged_args, merged_kwargs = self.merged(args, kwargs)
        return Signature(
            self.task,
            merged_args,
            dict(merged_kwargs),
            copy.deepcopy(self.merged_options(options)),
            self["subtask_type"],
            immutable=self.immutable,
            app=self._app,
        )

    def __copy__(self) -> Signature[R]:
        # Pickling drops the app; a copy in this process keeps it.
        return self.clone()

    def freeze(self, task_id: str | None = None) -> AsyncResult[R]:
        """Give the signature its id for good and return the result it will have."""
        from celerant.results.result import AsyncResult  # noqa: PLC0415 - see below

        # The way back is imported where it is needed: canvas is below it.
        frozen_id = self.options.setdefault("task_id", task_id or str(uuid.uuid4()))
        backend = getattr(self.app, "backend", None)
        return AsyncResult(frozen_id, backend=backend)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send it; short for ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it with partial arguments and options merged in.

        Args:
            args: Prepended to the signature's own.
            kwargs: Override the signature's own.
            options: Celery's names: `countdown` (s), `eta`, `expires`, `queue`, ...
        Raises:
            SettingError: An option that does not exist.
            TypeError: The task does not take these arguments.
            EncodeError: The serializer does not take an argument.
            PublishError: The broker refused or vanished.
        """
        return self.app.sender.send_signature(
            self, positional(args), kwargs or {}, options
        )

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Run it here and now and return its finished result."""
        return self.app.sender.apply_signature(
            self, positional(args), kwargs or {}, options
        )

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run the task's function here, as ``task(*args, **kwargs)`` would."""
        merged_args, merged_kwargs = self.merged(args, kwargs)
        try:
            task = self.app.tasks[self.task]
        except KeyError:
            msg = f"task {self.task!r} is not registered here: send it by name instead"
            raise LookupError(msg) from None
        value: R = task(*merged_args, **merged_kwargs)
        return value

    def link(self, callback: Signature[Any]) -> Signature[Any]:
        """Send `callback` with the result when the task succeeds; returns it."""
        return self._append("link", callback)

    def link_error(self, errback: Signature[Any]) -> Signature[Any]:
        """Call `errback` when the task fails; returns it."""
        return self._append("link_error", errback)

    def _append(self, option: str, callback: Signature[Any]) -> Signature[Any]:
        existing = self.options.get(option) or []
        if not isinstance(existing, (list, tuple)):
            existing = [existing]
        if callback not in existing:
            existing = [*existing, callback]
        self.options[option] = list(existing)
        return callback

    def __repr__(self) -> str:
        parts = [repr(arg) for arg in self.args]
        parts += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(parts)})"


def positional(args: Any) -> tuple[Any, ...]:
    """Return the positional arguments of a call as a tuple.

    Raises:
        TypeError: Neither a list nor a tuple: text would fall apart into letters.
    """
    if args is None:
        return ()
    if not isinstance(args, (list, tuple)):
        msg = (
            f"args must be a list or tuple of arguments, not {type(args).__name__}; "
            "one argument is written (x,)"
        )
        raise TypeError(msg)
    return tuple(args)


def signature(
    task: str | Mapping[str, Any],
    args: tuple[Any, ...] | list[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    app: Host | None = None,
    **options: Any,
) -> Any:
    """Make a signature by name, rebuild one from a dict, or clone one.

    Args:
        task: A task's name, or a signature or group, also in plain dict form.
    Returns:
        A `Signature`, or a `group` where the dict says so.
    Raises:
        CanvasError: The dict is no signature.
    """
    if isinstance(task, Signature):
        return task.clone()
    if isinstance(task, Mapping):
        return _rebuild(task, app)
    return Signature(
        task,
        tuple(args),
        dict(kwargs or {}),
        options,
        immutable=immutable,
        app=app,
    )


def maybe_signature(value: Any, app: Host | None = None) -> Any:
    """Return signatures and groups as they are, plain dicts rebuilt."""
    if isinstance(value, Canvas) or not isinstance(value, Mapping):
        return value
    return _rebuild(value, app)


def _rebuild(plain: Mapping[str, Any], app: Host | None) -> Any:
    if not isinstance(plain.get("task"), str):
        msg = (
            "not a signature: a dict needs 'task', 'args', 'kwargs', 'options', "
            f"'subtask_type' and 'immutable', got {sorted(map(str, plain))[:6]}"
        )
        raise CanvasError(msg)
    if plain.get("subtask_type") == "group":
        from celerant.canvas.group import group  # noqa: PLC0415 - group imports this module

        members = plain["kwargs"]["tasks"]
        return group(
            [maybe_signature(m, app) for m in members], app=app, **plain["options"]
        )
    return Signature(
        plain["task"],
        plain.get("args") or (),
        dict(plain.get("kwargs") or {}),
        dict(plain.get("options") or {}),
        plain.get("subtask_type"),
        immutable=bool(plain.get("immutable")),
        app=app,
    )
