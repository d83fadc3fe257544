"""A canvas as data: its six keys, its options, and its app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from celerant.canvas.kinds import Kind, class_of, kind_of, register
from celerant.common.listed import listed
from celerant.context.apps import all_apps, current_app
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from celerant.canvas.options import SendOptions
    from celerant.context.host import App

__all__ = ["CanvasData", "maybe_signature", "positional", "stranger"]

_C = TypeVar("_C")

#: Options that a call cannot override once a signature carries them.
_IMMUTABLE_OPTIONS = frozenset({"group_id", "stamped_headers"})


class CanvasData(dict[str, Any]):
    """The six keys of a signature, group, chain or chord, and its app.

    Shape: `task`, `args`, `kwargs`, `options`, `subtask_type` and `immutable`, as
    Celery writes them, so that both read each other's canvases.
    Source: ``celery.canvas.Signature`` of celery 5.7.0.
    """

    __slots__ = ("_app",)

    _app: App | None

    def __init_subclass__(cls, *, kind: Kind | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if kind is not None:
            register(kind, cls)

    def __init__(  # noqa: PLR0913 - the six keys of the format
        self,
        task: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
        options: Any = None,
        subtask_type: str | None = None,
        *,
        immutable: bool = False,
        app: App | None = None,
    ) -> None:
        """Make one.

        Args:
            task: A task's name, or the task.
            args: Positional arguments.
            kwargs: Keyword arguments.
            options: Options of the send.
            subtask_type: The kind of canvas that it stands for; None: a task.
            immutable: Whether it ignores the arguments of a call.
            app: The app that has the task; None: the task's own, else the one made
                last.
        """
        if type(task) is not str:
            task, app = _named(task, app)
        # One by one: half as long as by keywords, which make a dict of their own.
        self["task"] = task
        self["args"] = args
        self["kwargs"] = {} if kwargs is None else kwargs
        self["options"] = {} if options is None else options
        self["subtask_type"] = subtask_type
        self["immutable"] = immutable
        self._app = app

    @property
    def app(self) -> App:
        """Its own app, else the app of its first part, else the app made last."""
        if self._app is not None:
            return self._app
        canvas: Any = self
        seen: set[int] = set()
        # A loop, because canvases may be nested deeper than Python's stack; `seen`,
        # because a cycle is refused only when it is sent.
        while isinstance(canvas, CanvasData) and id(canvas) not in seen:
            if canvas._app is not None:  # noqa: SLF001 - of its own class
                return canvas._app  # noqa: SLF001 - of its own class
            seen.add(id(canvas))
            canvas = canvas._first()  # noqa: SLF001 - of its own class
        return current_app()

    def _first(self) -> Any:
        """Return its first part; None if it has none."""
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
        """Keyword arguments; a group, chain or chord has its parts here."""
        kwargs: dict[str, Any] = self["kwargs"]
        return kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self["kwargs"] = kwargs

    @property
    def options(self) -> dict[str, Any]:
        """Options of the send, by Celery's names."""
        options: dict[str, Any] = self["options"]
        return options

    @options.setter
    def options(self, options: dict[str, Any]) -> None:
        self["options"] = options

    @property
    def subtask_type(self) -> str | None:
        """The kind of canvas; None for a task."""
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
        """The id of the first task of all, if it is set."""
        return self.options.get("root_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that sends it, if it is set."""
        return self.options.get("parent_id")

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
        """Return a copy with these arguments or options instead of its own."""
        made: Self = self.clone()
        if args is not None:
            made["args"] = positional(args)
        if kwargs is not None:
            made["kwargs"] = dict(kwargs)
        if options is not None:
            made["options"] = dict(options)
        return made

    def merged_options(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Return its own options with a call's laid over them.

        Its own `group_id` and stamps stay.
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
                if not (name in fixed and name in own)
            },
        }

    @property
    def own_app(self) -> App | None:
        """The app it was made for; None if it takes the app made last."""
        return self._app

    def bind(self, app: App) -> None:
        """Be sent by `app`, if it was made for none."""
        if self._app is None:
            self._app = app

    def append_to_list_option(self, key: str, value: _C) -> _C:
        """Append a value to an option that is a list unless it is there; return it."""
        existing = listed(self.options.get(key))
        self.options[key] = existing if value in existing else [*existing, value]
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Append one value or many to an option that is a list, such as `link`."""
        for one in listed(value):
            self.append_to_list_option(key, one)

    def __json__(self) -> dict[str, Any]:
        """Return the plain dict that kombu's encoder writes."""
        return dict(self)

    if TYPE_CHECKING:

        def clone(
            self,
            args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Unpack[SendOptions],
        ) -> Any:
            """Return a copy, with a call's arguments and options merged in."""

    @classmethod
    def _rebuilt(cls, plain: Mapping[str, Any], app: App | None) -> Any:
        """Return the canvas that a plain dict of this kind describes."""
        raise NotImplementedError


def maybe_signature(
    d: Any,
    app: App | None = None,
    clone: bool = False,  # noqa: FBT001, FBT002 - Celery's order
) -> Any:
    """Return canvases as they are, their plain dict form as canvases.

    Args:
        d: A canvas or a mapping; anything else comes back as it is.
        app: The app that has their tasks; None: the app made last.
        clone: Return a copy of a canvas.
    Raises:
        CanvasError: The mapping is no signature.
    """
    if isinstance(d, CanvasData):
        return d.clone() if clone else d
    if not isinstance(d, Mapping):
        return d
    plain = d if isinstance(d, dict) else dict(d)
    if not isinstance(plain.get("task"), str):
        msg = (
            "not a signature: a dict needs 'task', 'args', 'kwargs', 'options', "
            f"'subtask_type' and 'immutable', got {sorted(map(str, plain))[:6]}"
        )
        raise CanvasError(msg)
    cls = class_of(kind_of(plain).name)
    return cls._rebuilt(plain, app)


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


def stranger(found: Any, path: str, what: str) -> CanvasError:
    """Return the error about something that should be a member or step and is none."""
    msg = f"{path}: {what}, not {type(found).__name__}; use task.s(...)"
    return CanvasError(msg, path=path)


def _named(task: Any, app: App | None) -> tuple[Any, App | None]:
    """Return the name of a task, and the app that sends it.

    What is no task has its name refused by the send.
    """
    if isinstance(task, str):
        return task, app
    name = getattr(task, "name", task)
    if app is None:
        # Celery's own tasks are sent by name.
        own = getattr(task, "app", None)
        app = next((one for one in all_apps() if one is own), None)
    return name, app
