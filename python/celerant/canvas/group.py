"""Tasks that are sent together and awaited together."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast, overload

from celerant.canvas.base import Canvas, check_callback
from celerant.canvas.comparing import same_members
from celerant.canvas.data import maybe_signature
from celerant.canvas.group_members import (
    checked,
    groups_in,
    mapped,
    mark_members,
    members_of,
    refuse_strangers,
    signed,
)
from celerant.canvas.kinds import Kind
from celerant.canvas.parts import is_group
from celerant.canvas.source import Mapped, Stream, is_async
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.canvas.chord import chord
    from celerant.canvas.columns import Columns
    from celerant.canvas.options import GroupOptions, SendOptions
    from celerant.canvas.signature import Signature
    from celerant.canvas.single import Single
    from celerant.context.host import App
    from celerant.results.group_result import GroupResult

__all__ = ["group"]

R = TypeVar("R")
_S = TypeVar("_S")


class Callee(Protocol[_S]):
    """A task, as `map` and `starmap` are given it."""

    name: str

    def s(self, *args: Any, **kwargs: Any) -> Signature[_S]:
        """Make a signature of it."""


class group(  # noqa: N801 - Celery's name
    Canvas[R, "GroupResult[R]"], kind=Kind("group", {"tasks": "member"})
):
    """Members that go out as one volley; their results come back in order.

    Shape: members are unrolled left to right, depth first; the result at position i
    belongs to ``group_index`` i. A nested group loses its own options.

    Args:
        tasks: Signatures, groups or their plain dict form: as arguments, or as one
            list, tuple or generator. A generator is consumed by its dispatch and
            never held whole; `len`, `tasks` and `freeze` hold it. One async iterable
            leaves by `asend`.
        options: Options of every member, over the member's own.
    Raises:
        CanvasError: A member that is neither; a generator's members are checked when it
            is sent.
    """

    __slots__ = ("_owns", "seed")

    #: Set by `freeze`: sending again then uses the same ids.
    seed: bytes | None
    #: Whether the list of members was made here, and may be changed.
    _owns: bool

    @overload
    def __init__(
        self,
        *tasks: Canvas[R],
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        *tasks: Iterable[Canvas[R]] | AsyncIterable[Canvas[R]],
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: group[Any],
        *tasks: Any,
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    def __init__(
        self, *tasks: Any, app: App | None = None, **options: Unpack[SendOptions]
    ) -> None:
        super().__init__(
            "celery.group", (), {"tasks": members_of(tasks)}, options, "group", app=app
        )
        self.seed = None
        self._owns = False

    @classmethod
    def map(
        cls,
        task: Callee[_S],
        items: Iterable[Any] | AsyncIterable[Any] | Columns,
        /,
        **options: Unpack[SendOptions],
    ) -> group[_S]:
        """Make a group of one task per item, each called with that one argument.

        Holds no signature per item. (Celery's ``task.map`` is one message whose
        worker loops over all items; this is n messages.)

        Args:
            task: The task, or its name.
            items: Any iterable; or a column of Polars, pyarrow, pandas or NumPy, of
                whose values no Python objects are made.
            options: Options of every member.
        Raises:
            CanvasError: `task` is neither a task nor a name, `items` cannot be
                iterated, or the column's type has no place in a message.
        """
        return cls._mapped(task, items, options, star=False)

    @classmethod
    def starmap(
        cls,
        task: Callee[_S],
        items: Iterable[Iterable[Any]] | AsyncIterable[Iterable[Any]] | Columns,
        /,
        **options: Unpack[SendOptions],
    ) -> group[_S]:
        """Make a group of one task per item, called with that item's arguments.

        Args:
            task: The task, or its name.
            items: Any iterable of iterables; or a table of Polars, pyarrow, pandas or
                NumPy, whose columns are the positional arguments, in their order.
            options: Options of every member.
        Raises:
            CanvasError: `task` is neither a task nor a name, `items` cannot be
                iterated, or a column's type has no place in a message.
        """
        return cls._mapped(task, items, options, star=True)

    @classmethod
    def _mapped(cls, task: Any, items: Any, options: Any, *, star: bool) -> group[Any]:
        made: group[Any] = cls(app=getattr(task, "app", None), **options)
        made["kwargs"]["tasks"] = mapped(task, items, star=star)
        return made

    def _first(self) -> Any:
        source = self["kwargs"].get("tasks")
        if is_async(source):
            return None
        if isinstance(source, Stream):
            return source.peek()
        return source[0] if isinstance(source, (list, tuple)) and source else None

    @property
    def tasks(self) -> list[Any]:
        """The members as a list; holds a generator's from now on."""
        source = self["kwargs"]["tasks"]
        if isinstance(source, (Stream, Mapped)):
            source = source.hold()
            self["kwargs"]["tasks"] = source
        return cast("list[Any]", source)

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self["kwargs"]["tasks"] = members_of((tasks,))
        self._owns = False

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        source = self["kwargs"]["tasks"]
        if is_async(source):
            return True
        # A generator keeps the members that are looked at.
        return bool(source.ahead(1) if isinstance(source, (Stream, Mapped)) else source)

    def add(self, member: Canvas[R]) -> None:
        """Append a member; Celery's group has no such method."""
        refuse_strangers([member], start=len(self))
        if not self._owns:
            # The list may be the caller's, or another group's.
            self._take(list(self.tasks))
        self.tasks.append(member)

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's name and form
        """Say for every member whether it ignores the arguments of a call."""
        for part in groups_in(self):
            mark_members(part, immutable, getattr(part.canvas, "_app", self._app))

    def clone(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> group[R]:
        """Return a copy whose members are copies, at any depth."""

        def cloned(member: Any, holder: group[Any]) -> Any:
            return maybe_signature(member, holder._app).clone(args, kwargs)

        made = self._copied(cloned)
        made["options"] = copy.deepcopy(self.merged_options(options))
        return made

    def _copied(self, copied: Callable[[Any, group[Any]], Any]) -> group[R]:
        """Return a copy of the group and all groups inside.

        Args:
            copied: Copies a member that is no group; gets the group that takes the
                copy.
        """
        groups = groups_in(self)
        made: dict[int, group[Any]] = {}
        for part in groups:
            new: group[Any] = group(app=getattr(part.canvas, "_app", self._app))
            new["options"] = copy.deepcopy(part.canvas.get("options") or {})
            # A frozen group's copy has its ids, as the copies of its members have.
            new.seed = getattr(part.canvas, "seed", None)
            made[id(part.canvas)] = new
        for part in groups:
            new = made[id(part.canvas)]
            new._take(  # noqa: SLF001 - of its own class
                [
                    made[id(member)]
                    if is_group(member)
                    else copied(checked(member, position, part), new)
                    for position, member in enumerate(part.canvas["kwargs"]["tasks"])
                ]
            )
        return made[id(self)]

    def _take(self, members: list[Any]) -> None:
        """Have these members, in a list that is the group's own."""
        self["kwargs"]["tasks"] = members
        self._owns = True

    def _signed(self) -> list[Any]:
        """Return the members as canvases, which the group has from now on."""
        members: list[Any] = signed(self.tasks, self._app)
        if members is not self.tasks:
            self._take(members)
        return members

    def skew(
        self, start: float = 1.0, stop: float | None = None, step: float = 1.0
    ) -> group[R]:
        """Delay each member by more than the one before; returns self.

        Args:
            start: Countdown of the first member, in seconds.
            stop: If it is given, later members all wait as long as this.
            step: How many seconds longer each member waits than the one before.
        """
        wait = start
        for member in self._signed():
            is_over = bool(stop) and wait > cast("float", stop)
            member.set(countdown=wait - step if is_over else wait)
            wait += 0 if is_over else step
        return self

    def link(self, callback: Canvas[Any]) -> Canvas[Any]:
        """Send `callback` when the first member succeeds, as Celery does; returns it.

        It is a copy that ignores the member's result. To run a callback after all
        members, write a chord: ``group | callback``.

        Raises:
            CanvasError: The group is empty, or the callback no canvas.
        """
        check_callback(self, "link", callback)
        if not self.tasks:
            msg = "group: an empty group has no member to link a callback to"
            raise CanvasError(msg, path="group")
        copied = maybe_signature(callback, self._app).clone().set(immutable=True)
        linked: Canvas[Any] = self._signed()[0].link(copied)
        return linked

    def link_error(self, errback: Canvas[Any]) -> tuple[Canvas[Any], ...]:
        """Call `errback` for each member that fails; returns a copy for each."""
        check_callback(self, "link_error", errback)
        errback = maybe_signature(errback, self._app)
        return tuple(member.link_error(errback.clone()) for member in self._signed())

    def freeze(self, **options: Unpack[SendOptions]) -> GroupResult[R]:
        """Give the group and its members their ids; returns its result.

        Sending it, once or again, then uses these ids.
        """
        result: GroupResult[R] = self.app.sender.freeze(self, {**options})
        return result

    def resume(
        self,
        result: GroupResult[R] | str | os.PathLike[str],
        unknown: Literal["send", "skip"] = "send",
    ) -> GroupResult[R]:
        """Send the rest of an interrupted dispatch, under the same ids.

        Does nothing if there is no rest. The dispatch may be another process's, which
        sent the same members with ``journal=`` and was killed. All of them are read
        then, and those that had left are compared with what was sent.

        Args:
            result: ``PublishError.result`` of the dispatch; or the path of its journal.
            unknown: ``"send"`` sends members again whose fate is unknown (they may
                run twice), ``"skip"`` counts them as sent.
        Returns:
            `result`, which now waits for those that were sent; of another process's
            dispatch a new one. Its `report` says which members may be double.
        Raises:
            CanvasError: The result is not of this group, or its members are gone; or a
                member is another than was sent, which the error names.
            JournalError: The journal is garbled, of another group or app, or its
                sender lives.
            PublishError: Again.
        """
        resumed: GroupResult[R] = self.app.sender.resume(self, result, unknown)
        return resumed

    async def aresume(
        self,
        result: GroupResult[R] | str | os.PathLike[str],
        unknown: Literal["send", "skip"] = "send",
    ) -> GroupResult[R]:
        """Do the same as `resume` from an event loop, also with an async iterable.

        Args:
            result: As of `resume`.
            unknown: As of `resume`.
        Raises:
            Exception: As of `resume`.
        """
        door = self.app.loop_door
        door.open(self, self.app)
        resumed: GroupResult[R]
        resumed = await door.send(partial(self.resume, result, unknown))
        return resumed

    @classmethod
    def _rebuilt(cls, plain: Mapping[str, Any], app: App | None) -> Any:
        members = [maybe_signature(one, app) for one in plain["kwargs"]["tasks"]]
        made: group[Any] = group(members, app=app)
        made["options"] = dict(plain.get("options") or {})
        return made

    if TYPE_CHECKING:
        # It takes more options than others do.

        def apply_async(
            self,
            args: tuple[Any, ...] | list[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
            **options: Unpack[GroupOptions],
        ) -> GroupResult[R]:
            """Send it; see `GroupOptions` for how it is fed."""

        async def asend(self, **options: Unpack[GroupOptions]) -> GroupResult[R]:
            """Send it from an event loop."""

        def __call__(
            self, *args: Any, **options: Unpack[GroupOptions]
        ) -> GroupResult[R]:
            """Send it; keywords are options here, as in Celery."""

        @overload  # type: ignore[override]  # no dict's
        def __or__(self, other: Single[_S]) -> chord[_S]: ...
        @overload
        def __or__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        # Beside it, because mypy first asks the right side's class.
        def __ror__(self, other: Any) -> Any: ...

    # dict does it by recursion, which ends at Python's limit.

    def __eq__(self, other: object) -> bool:
        return same_members([self], [other])

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]
