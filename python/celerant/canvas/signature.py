"""A call as data: which task, with what, and how it is sent."""

from __future__ import annotations

import copy
import reprlib
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from celerant.canvas.host import Host, current_app
from celerant.canvas.showing import called, shown
from celerant.errors import CanvasError, CelerantError

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.canvas.stamping import StampingVisitor
    from celerant.results.result import AsyncResult

__all__ = [
    "Canvas",
    "Signature",
    "check_callback",
    "maybe_signature",
    "on_commit",
    "positional",
    "signature",
]

R = TypeVar("R")
_C = TypeVar("_C")
_S = TypeVar("_S")

#: Options that a call cannot override once a signature carries them.
_IMMUTABLE_OPTIONS = frozenset({"group_id", "stamped_headers"})


class Canvas(dict[str, Any], Generic[R]):
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
        """Its own app, else that of what is first in it, else the one made last."""
        canvas: Any = self
        seen: set[int] = set()
        # A loop, for canvases may be nested deeper than Python's stack; `seen`, for a
        # cycle is refused only when it is sent.
        while isinstance(canvas, Canvas) and id(canvas) not in seen:
            if canvas._app is not None:  # noqa: SLF001 - of its own class
                return canvas._app  # noqa: SLF001 - of its own class
            seen.add(id(canvas))
            canvas = canvas._first()  # noqa: SLF001 - of its own class
        return current_app()

    def _first(self) -> Any:
        """Return what is first in it; None where nothing is."""
        return None

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

    @options.setter
    def options(self, options: dict[str, Any]) -> None:
        self["options"] = options

    @property
    def subtask_type(self) -> str | None:
        """Which kind of canvas; None of a task."""
        kind: str | None = self["subtask_type"]
        return kind

    @property
    def immutable(self) -> bool:
        """Whether the arguments of a call are ignored."""
        return bool(self["immutable"])

    @immutable.setter
    def immutable(self, immutable: bool) -> None:
        self["immutable"] = immutable

    @property
    def id(self) -> str | None:
        """The id it was given by hand or by `freeze`, if any."""
        return self.options.get("task_id")

    @property
    def root_id(self) -> str | None:
        """The id of the task that all began with, where it is set."""
        return self.options.get("root_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that sends it, where it is set."""
        return self.options.get("parent_id")

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], app: Host | None = None) -> Any:
        """Return the canvas that a plain dict describes, of the kind that it says.

        Raises:
            CanvasError: The dict is no signature.
        """
        return _rebuild(plain, app)

    def set(self, *, immutable: bool | None = None, **options: Any) -> Self:
        """Change options in place and return self."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's name and form
        """Say whether the arguments of a call are ignored."""
        self["immutable"] = immutable

    def replace(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a copy with these arguments or options in place of its own."""
        made: Self = self.clone()
        if args is not None:
            made["args"] = positional(args)
        if kwargs is not None:
            made["kwargs"] = dict(kwargs)
        if options is not None:
            made["options"] = dict(options)
        return made

    def on_error(self, errback: Canvas[Any]) -> Self:
        """Call `errback` where this fails; returns self."""
        self.link_error(errback)
        return self

    def stamp(
        self,
        visitor: StampingVisitor | None = None,
        append_stamps: bool = False,  # noqa: FBT001, FBT002 - Celery's name and form
        **headers: Any,
    ) -> Self:
        """Put headers of one's own on every message of this canvas; returns self.

        All tasks in it are stamped in place, with their callbacks and errbacks; a
        generator's when they come out of it. A chord's body is stamped by visitors
        alone, as in Celery.

        Args:
            visitor: Says of each part how it is stamped.
            append_stamps: Whether a stamp that is there already becomes a list of both;
                else the one from further out stays.
            headers: Stamps of every task, by name.
        Raises:
            CanvasError: A canvas that contains itself, is nested more than 256 deep, or
                has a member that is no canvas.
        """
        from celerant.canvas.stamping import stamp  # noqa: PLC0415 - it imports this module

        stamp(self, visitor, headers, append=append_stamps)
        return self

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

    @property
    def own_app(self) -> Host | None:
        """The app it was made for; None where it takes what there is."""
        return self._app

    if TYPE_CHECKING:

        def clone(
            self,
            args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Any,
        ) -> Any:
            """Return a copy, with what a call brings merged in."""

        def link_error(self, errback: Any) -> Any:
            """Call `errback` where this fails."""

        def apply_async(
            self,
            args: tuple[Any, ...] | list[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Any,
        ) -> Any:
            """Send it."""

    @overload  # type: ignore[override]  # no dict's
    def __or__(self, other: Signature[_S]) -> Canvas[_S]: ...
    @overload
    def __or__(self, other: Any) -> Canvas[Any]: ...
    def __or__(self, other: Any) -> Canvas[Any]:
        """Return a canvas that runs `other` with this one's result.

        A chain; a chord where this one is a group; where this one is a chord, its body
        goes on.
        """
        from celerant.canvas.composing import joined  # noqa: PLC0415 - it imports this module

        return joined(self, other)

    def __ror__(self, other: Any) -> Canvas[Any]:  # type: ignore[override]  # no dict's
        """Return ``other | self`` for another's signature in plain dict form."""
        left: Canvas[Any] = maybe_signature(other, self._app)
        return left | self

    def __ior__(self, other: Any) -> Canvas[Any]:  # type: ignore[override,misc]  # no dict's
        # dict's own would merge two signatures in place and lose one.
        made: Canvas[Any] = self | other
        return made

    def __invert__(self) -> Any:
        """Send it and wait for its result: ``~add.s(1, 2)``."""
        return self.apply_async().get()

    def _append(self, option: str, callback: _C) -> _C:
        """Append to a list option what is not in it."""
        check_callback(self, option, callback)
        existing = self.options.get(option) or []
        if not isinstance(existing, (list, tuple)):
            existing = [existing]
        if callback not in existing:
            existing = [*existing, callback]
        self.options[option] = list(existing)
        return callback

    def __json__(self) -> dict[str, Any]:
        """Return the plain dict that kombu's encoder writes."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        from celerant.canvas.flattening import restored, rows_of  # noqa: PLC0415 - it imports this module

        return restored, (rows_of(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        from celerant.canvas.flattening import deep_copy  # noqa: PLC0415 - it imports this module

        return deep_copy(self, memo)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        return shown(self)


class Signature(Canvas[R]):
    """One task with its arguments and options, not yet sent.

    ``add.s(1, 2)`` makes one; it can be sent any number of times, each time under
    a new id.
    """

    __slots__ = ()

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return tuple(self["args"])

    @args.setter
    def args(self, args: tuple[Any, ...] | list[Any]) -> None:
        self["args"] = positional(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self["kwargs"] = kwargs

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

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it once Django's transaction is committed; it has its id now.

        Outside of a transaction it is sent at once. After a rollback nothing was sent,
        and the result says so with `NotSent`.

        Args:
            args: As `apply_async`.
            kwargs: As `apply_async`.
            using: The database's alias; None: the default one.
            options: As `apply_async`; times count from the commit.
        Raises:
            CelerantError: Django is not installed.
            RuntimeError: Later, by `get` inside the same transaction.
            TypeError, SettingError: As `apply_async`, now.
        """
        found: AsyncResult[R] = on_commit(
            self, positional(args), kwargs or {}, options, using
        )
        return found

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

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text, with these arguments added, long ones cut."""
        return called(self.task, (*args, *self.args), {**self.kwargs, **kwargs})

    def __repr__(self) -> str:
        return self.reprcall()

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _rebuild(copy.deepcopy(dict(self), memo), self._app)


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


def on_commit(
    canvas: Canvas[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    using: str | None,
) -> Any:
    """Send a canvas at the commit of Django's transaction; return its result."""
    try:
        from celerant.django.on_commit import send_on_commit  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "django":
            raise
        msg = "sending on commit needs Django: pip install 'celerant[django]'"
        raise CelerantError(msg) from exc
    return send_on_commit(canvas, args, kwargs, options, using)


def signature(  # noqa: PLR0913 - Celery's, and an app
    task: str | Mapping[str, Any],
    args: tuple[Any, ...] | list[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
    app: Host | None = None,
    **more: Any,
) -> Any:
    """Make a signature by name, rebuild one from a dict, or clone one.

    Args:
        task: A task's name, or a canvas, also in plain dict form.
        args: Positional arguments.
        kwargs: Keyword arguments.
        options: How it is sent.
        immutable: Whether it ignores the arguments of a call.
        app: Whose task it is; None: that of the app made last.
        more: Options by name.
    Returns:
        A `Signature`, or whatever canvas the dict says.
    Raises:
        CanvasError: The dict is no signature.
    """
    if isinstance(task, Canvas):
        return task.clone()
    if isinstance(task, Mapping):
        return _rebuild(task, app)
    return Signature(
        task,
        tuple(args),
        dict(kwargs or {}),
        {**(options or {}), **more},
        immutable=immutable,
        app=app,
    )


def check_callback(canvas: Canvas[Any], option: str, callback: Any) -> None:
    """Refuse what no worker could send.

    Raises:
        CanvasError: The callback is no canvas.
    """
    if not isinstance(callback, dict):
        msg = (
            f"{canvas.task}: {option} takes a signature, not "
            f"{type(callback).__name__}; use task.s(...)"
        )
        raise CanvasError(msg, path=option)


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
    if plain.get("subtask_type") == "chain":
        from celerant.canvas.chain import Chain  # noqa: PLC0415 - chain imports this module

        steps = [maybe_signature(step, app) for step in plain["kwargs"]["tasks"]]
        return Chain(steps, dict(plain.get("options") or {}), app=app)
    if plain.get("subtask_type") == "chord":
        from celerant.canvas.chord import rebuilt  # noqa: PLC0415 - chord imports this module

        return rebuilt(plain, app)
    if plain.get("subtask_type") == "chunks":
        from celerant.canvas.mapping import chunks  # noqa: PLC0415 - mapping imports this module

        parts = (plain["kwargs"][key] for key in ("task", "it", "n"))
        return chunks(*parts, app=app, **(plain.get("options") or {}))
    return Signature(
        plain["task"],
        plain.get("args") or (),
        dict(plain.get("kwargs") or {}),
        dict(plain.get("options") or {}),
        plain.get("subtask_type"),
        immutable=bool(plain.get("immutable")),
        app=app,
    )
