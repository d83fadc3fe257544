"""What signatures, groups, chains and chords share."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celerant.canvas.host import Host
from celerant.canvas.showing import called, shown
from celerant.common.listed import listed
from celerant.context.apps import current_app
from celerant.errors import CanvasError, CelerantError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from celerant.canvas.options import ApplyOptions, SendOptions
    from celerant.canvas.stamping import StampingVisitor

__all__ = ["Canvas", "check_callback", "maybe_signature", "on_commit", "positional"]

R = TypeVar("R")
_C = TypeVar("_C")

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
        options: Any = None,
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
    def name(self) -> str:
        """Name of the task."""
        return self.task

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments."""
        return tuple(self["args"])

    @args.setter
    def args(self, args: tuple[Any, ...] | list[Any]) -> None:
        self["args"] = positional(args)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments; what is in it, of a group, chain or chord."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self["kwargs"] = kwargs

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
    def from_dict(cls, d: Mapping[str, Any], app: Host | None = None) -> Any:
        """Return the canvas that a plain dict describes, of the kind that it says.

        Raises:
            CanvasError: The dict is no signature.
        """
        return maybe_signature(d, app)

    def set(
        self,
        immutable: bool | None = None,  # noqa: FBT001 - Celery's order
        **options: Unpack[SendOptions],
    ) -> Self:
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

    def partial(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Self:
        """Return a copy with arguments and options merged in, as `clone`."""
        made: Self = self.clone(args, kwargs, **options)
        return made

    def flatten_links(self) -> list[Any]:
        """Return it, its callbacks, and theirs, nearest first."""
        found: list[Any] = []
        waiting: list[Any] = [self]
        seen: set[int] = set()
        while waiting:
            canvas = waiting.pop()
            if id(canvas) not in seen:
                seen.add(id(canvas))
                found.append(canvas)
                links = listed(canvas.options.get("link"))
                waiting += [maybe_signature(one, self._app) for one in links[::-1]]
        return found

    def append_to_list_option(self, key: str, value: _C) -> _C:
        """Append to an option that is a list, as `link` is, what is not in it."""
        return self._append(key, value)

    def extend_list_option(self, key: str, value: Any) -> None:
        """Append one value or many to an option that is a list, as `link` is."""
        for one in listed(value):
            self._append(key, one)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text, with these arguments added, long ones cut."""
        return called(self.task, (*args, *self.args), {**self.kwargs, **kwargs})

    if TYPE_CHECKING:
        # What each kind has, with types of its own.

        def clone(
            self,
            args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Unpack[SendOptions],
        ) -> Any:
            """Return a copy, with what a call brings merged in."""

        def link(self, callback: Any) -> Any:
            """Send `callback` once it has succeeded."""

        def link_error(self, errback: Any) -> Any:
            """Call `errback` where this fails."""

        def freeze(self) -> Any:
            """Give it its ids for good."""

        def delay(self, *args: Any, **kwargs: Any) -> Any:
            """Send it."""

        def apply_async(
            self,
            args: tuple[Any, ...] | list[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Unpack[SendOptions],
        ) -> Any:
            """Send it."""

        def apply(
            self,
            args: tuple[Any, ...] | list[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Unpack[ApplyOptions],
        ) -> Any:
            """Run it here."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Call what it stands for."""

    def __or__(self, other: Any) -> Any:
        """Return a canvas that runs `other` with this one's result.

        A chain; a chord where this one is a group; where this one is a chord, its body
        goes on.
        """
        from celerant.canvas.composing import joined  # noqa: PLC0415 - it imports this module

        return joined(self, other)

    def __ror__(self, other: Any) -> Any:
        """Return ``other | self`` for another's signature in plain dict form."""
        return maybe_signature(other, self._app) | self

    def __ior__(self, other: Any) -> Any:
        # dict's own would merge two signatures in place and lose one.
        return self | other

    def __invert__(self) -> Any:
        """Send it and wait for its result: ``~add.s(1, 2)``."""
        return self.apply_async().get()

    def _append(self, option: str, callback: _C) -> _C:
        """Append to a list option what is not in it."""
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


def maybe_signature(
    d: Any,
    app: Host | None = None,
    clone: bool = False,  # noqa: FBT001, FBT002 - Celery's order
) -> Any:
    """Return canvases as they are, their plain dict form as canvases.

    Args:
        d: A canvas or a mapping; anything else comes back as it is.
        app: Whose tasks they are; None: those of the app made last.
        clone: Return a copy of a canvas.
    Raises:
        CanvasError: The mapping is no signature.
    """
    if isinstance(d, Canvas):
        return d.clone() if clone else d
    if not isinstance(d, Mapping):
        return d
    from celerant.canvas.rebuilding import rebuilt  # noqa: PLC0415 - it imports this module

    return rebuilt(d, app)


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
    options: Any,
    using: str | None,
) -> Any:
    """Send a canvas at the commit of Django's transaction; return its result."""
    try:
        from celerant.canvas.on_commit import send_on_commit  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "django":
            raise
        msg = "sending on commit needs Django: pip install 'celerant[django]'"
        raise CelerantError(msg) from exc
    return send_on_commit(canvas, args, kwargs, options, using)


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
