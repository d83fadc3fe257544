"""Tasks that are sent together and awaited together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast, overload

from celerant.canvas.base import (
    Canvas,
    check_callback,
    maybe_signature,
    on_commit,
    positional,
)
from celerant.canvas.nesting import Node, nodes_of, path_to, same_members
from celerant.canvas.source import Mapped, Stream
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.canvas.chord import chord
    from celerant.canvas.host import Host
    from celerant.canvas.options import ApplyOptions, SendOptions
    from celerant.canvas.signature import Signature
    from celerant.canvas.single import Single
    from celerant.results.group_result import GroupResult

__all__ = ["group"]

R = TypeVar("R")
_S = TypeVar("_S")


class Callee(Protocol[_S]):
    """A task, as `map` and `starmap` are given it."""

    name: str

    def s(self, *args: Any, **kwargs: Any) -> Signature[_S]:
        """Make a signature of it."""
        ...


_NO_LINK = "Cannot add link to group: use a chord"
_NO_ERRLINK = "Cannot add link to group: do that on individual tasks"


class group(Canvas[R]):  # noqa: N801 - Celery's name
    """Members that go out as one volley; their results come back in order.

    Shape: members are unrolled left to right, depth first; the result at position i
    belongs to ``group_index`` i. A nested group loses its own options.

    Args:
        tasks: Signatures, groups or their plain dict form: as arguments, or as one
            list, tuple or generator. A generator is consumed by its dispatch and
            never held whole; `len`, `tasks` and `freeze` hold it.
        options: Options of every member, over the member's own.
    Raises:
        CanvasError: A member that is neither; a generator's are looked at when it
            is sent.
    """

    __slots__ = ("_owns", "_seed")

    #: Set by `freeze`: sending again then uses the same ids.
    _seed: bytes | None
    #: Whether the list of members was made here, and may be changed.
    _owns: bool

    @overload
    def __init__(
        self,
        *tasks: Canvas[R],
        app: Host | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        *tasks: Iterable[Canvas[R]],
        app: Host | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: group[Any],
        *tasks: Any,
        app: Host | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    def __init__(
        self, *tasks: Any, app: Host | None = None, **options: Unpack[SendOptions]
    ) -> None:
        super().__init__(
            "celery.group", (), {"tasks": _members(tasks)}, options, "group", app=app
        )
        self._seed = None
        self._owns = False

    @classmethod
    def map(
        cls,
        task: Callee[_S],
        items: Iterable[Any],
        /,
        **options: Unpack[SendOptions],
    ) -> group[_S]:
        """Make a group of one task per item, each called with that one argument.

        Holds no signature per item. (Celery's ``task.map`` is one message whose
        worker loops over all items; this is n messages.)
        Raises:
            CanvasError: Neither a task nor its name, or items that are none.
        """
        return cls._mapped(task, items, options, star=False)

    @classmethod
    def starmap(
        cls,
        task: Callee[_S],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[SendOptions],
    ) -> group[_S]:
        """Make a group of one task per item, called with that item's arguments.

        Raises:
            CanvasError: Neither a task nor its name, or items that are none.
        """
        return cls._mapped(task, items, options, star=True)

    @classmethod
    def _mapped(
        cls, task: Any, items: Iterable[Any], options: Any, *, star: bool
    ) -> group[Any]:
        form = "starmap" if star else "map"
        name = task if isinstance(task, str) else getattr(task, "name", None)
        if not isinstance(name, str):
            msg = (
                f"group.{form} takes a task or a task's name, not "
                f"{type(task).__name__}; make one with @app.task"
            )
            raise CanvasError(msg, path="group")
        if not isinstance(items, Iterable):
            each = "the arguments of each task" if star else "one argument per task"
            msg = (
                f"group.{form} takes an iterable of {each}, not "
                f"{type(items).__name__}; for one task put it into a list"
            )
            raise CanvasError(msg, path="group")
        made: group[Any] = cls(app=getattr(task, "app", None), **options)
        made["kwargs"]["tasks"] = Mapped(name, items, {}, star=star)
        return made

    def _first(self) -> Any:
        source = self["kwargs"].get("tasks")
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
        self["kwargs"]["tasks"] = _members((tasks,))
        self._owns = False

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        source = self["kwargs"]["tasks"]
        # A generator keeps what is looked at.
        return bool(source.ahead(1) if isinstance(source, (Stream, Mapped)) else source)

    def add(self, member: Canvas[R]) -> None:
        """Append a member; Celery's group has no such method."""
        _refuse_strangers([member], start=len(self))
        if not self._owns:
            # The list may be the caller's, or another group's.
            self._take(list(self.tasks))
        self.tasks.append(member)

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's name and form
        """Say of every member whether it ignores the arguments of a call."""
        for node in nodes_of(self):
            for position, member in enumerate(node.members):
                if position not in node.inner:
                    member["immutable"] = immutable

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
            copied: Copies a member that is no group, for the group that gets it.
        """
        nodes = nodes_of(self)
        made: list[group[Any]] = []
        for node in nodes:
            new: group[Any] = group(app=getattr(node.group, "_app", self._app))
            new["options"] = copy.deepcopy(node.group.get("options") or {})
            # A frozen group's copy has its ids, as the copies of its members have.
            new._seed = getattr(node.group, "_seed", None)
            made.append(new)
        for node, new in zip(nodes, made, strict=True):
            members = [
                made[node.inner[position]]
                if position in node.inner
                else copied(_checked(node, position), new)
                for position in range(len(node.members))
            ]
            new._take(members)  # noqa: SLF001 - of its own class
        return made[0]

    def _take(self, members: list[Any]) -> None:
        """Have these members, in a list that is the group's own."""
        self["kwargs"]["tasks"] = members
        self._owns = True

    def skew(
        self, start: float = 1.0, stop: float | None = None, step: float = 1.0
    ) -> group[R]:
        """Delay each member by more than the one before; returns self.

        Args:
            start: Countdown of the first member, in seconds.
            stop: From where all wait alike, where it is given.
            step: By how many seconds each waits longer.
        """
        members = [maybe_signature(member, self._app) for member in self.tasks]
        wait = start
        for member in members:
            is_over = bool(stop) and wait > cast("float", stop)
            member.set(countdown=wait - step if is_over else wait)
            wait += 0 if is_over else step
        self._take(members)
        return self

    def link(self, callback: Canvas[Any]) -> Canvas[Any]:
        """Send `callback` when the first member succeeds, as Celery does; returns it.

        It is a copy that ignores the member's result. What should run after all
        members is a chord: ``group | callback``.

        Raises:
            CanvasError: The group is empty, or the callback no canvas.
        """
        check_callback(self, "link", callback)
        if not self.tasks:
            msg = "group: an empty group has no member to link a callback to"
            raise CanvasError(msg, path="group")
        first = maybe_signature(self.tasks[0], self._app)
        self.tasks[0] = first
        linked: Canvas[Any] = first.link(callback.clone().set(immutable=True))
        return linked

    def link_error(self, errback: Canvas[Any]) -> tuple[Canvas[Any], ...]:
        """Call `errback` for each member that fails; returns a copy for each."""
        check_callback(self, "link_error", errback)
        members = [maybe_signature(member, self._app) for member in self.tasks]
        if not isinstance(self["kwargs"]["tasks"], tuple):
            self.tasks[:] = members
        return tuple(member.link_error(errback.clone()) for member in members)

    def freeze(self, **options: Unpack[SendOptions]) -> GroupResult[R]:
        """Give the group and its members their ids; returns the result to come.

        Sending it, once or again, then uses these ids.
        """
        return cast("GroupResult[R]", self.app.sender.freeze_group(self, options))

    def delay(self, *args: Any, **kwargs: Any) -> GroupResult[R]:
        """Send it; arguments go to every member, before its own."""
        return self.apply_async(args, kwargs)

    def __call__(self, *args: Any, **options: Unpack[SendOptions]) -> GroupResult[R]:
        """Send it; keywords are options here, as in Celery."""
        return self.apply_async(args, **options)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> GroupResult[R]:
        """Send every member and return a handle to their results.

        Args:
            args: Prepended to the arguments of every member that is not immutable.
            kwargs: Override those of every member that is not immutable.
            options: Celery's names, over the group's and the members' own;
                `task_id` is the id of the group.
        Raises:
            CanvasError: Before anything is sent.
            EncodeError: An argument that the serializer does not take; nothing is
                sent of a list of up to 16 MiB.
            PublishError: ``exc.report`` says which members are in; `resume` sends
                the rest under the same ids.
        Cost: O(n) time; a list is not copied, a generator is not held.
        """
        if options.pop("link", None) is not None:
            raise TypeError(_NO_LINK)
        if options.pop("link_error", None) is not None:
            raise TypeError(_NO_ERRLINK)
        return cast(
            "GroupResult[R]",
            self.app.sender.send_group(self, positional(args), kwargs or {}, options),
        )

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Unpack[SendOptions],
    ) -> GroupResult[R]:
        """Send every member once Django's transaction is committed.

        The group is frozen and checked now: its result, ids and handle are there at
        once. A generator is held. What a serializer refuses shows at the commit.

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
        found: GroupResult[R] = on_commit(
            self, positional(args), kwargs or {}, options, using
        )
        return found

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[ApplyOptions],
    ) -> GroupResult[R]:
        """Run every member here, one after the other."""
        return cast(
            "GroupResult[R]",
            self.app.sender.apply_group(self, positional(args), kwargs or {}, options),
        )

    def resume(
        self,
        result: GroupResult[R],
        unknown: Literal["send", "skip"] = "send",
    ) -> GroupResult[R]:
        """Send what `result`'s interrupted dispatch left over, under the same ids.

        Does nothing where nothing is left over.
        Args:
            result: ``PublishError.result`` of the dispatch.
            unknown: ``"send"`` sends members again whose fate is unknown (they may
                run twice), ``"skip"`` counts them as sent.
        Returns:
            `result`, which now waits for those that were sent.
        Raises:
            CanvasError: The result is not of this group, or its members are gone.
            PublishError: Again.
        """
        return cast(
            "GroupResult[R]", self.app.sender.resume_group(self, result, unknown)
        )

    def __copy__(self) -> group[R]:
        return self.clone()

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # no dict's
        def __or__(self, other: Single[_S]) -> chord[_S]: ...
        @overload
        def __or__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        # Beside it, for mypy asks first for what a class itself says of the right side.
        def __ror__(self, other: Any) -> Any: ...

    # dict does it by recursion, which ends at Python's limit.

    def __eq__(self, other: object) -> bool:
        return same_members([self], [other])

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def _members(tasks: tuple[Any, ...]) -> Any:
    """Return the members as the group keeps them: a list as given is not copied."""
    if len(tasks) == 1:
        (only,) = tasks
        if isinstance(only, group):
            return only["kwargs"]["tasks"]
        if isinstance(only, Canvas):
            return [only.clone()]
        if isinstance(only, (list, tuple)):
            _refuse_strangers(only)
            return only
        if isinstance(only, (str, bytes, Mapping)) or not isinstance(only, Iterable):
            raise _stranger(only, "group[0]")
        return Stream(only)
    _refuse_strangers(tasks)
    return tasks


def _refuse_strangers(members: list[Any] | tuple[Any, ...], start: int = 0) -> None:
    # By their types, of which there are few: a loop over the members would cost more
    # than to make the group.
    if all(issubclass(kind, dict) for kind in set(map(type, members))):
        return
    for position, member in enumerate(members, start):
        if not isinstance(member, dict):
            raise _stranger(member, f"group[{position}]")


def _checked(node: Node, position: int) -> Any:
    """Return a member, which may have come into a list that was checked before."""
    member = node.members[position]
    if not isinstance(member, dict):
        raise _stranger(member, path_to(node, position))
    return member


def _stranger(found: Any, path: str) -> CanvasError:
    msg = (
        f"{path}: a member must be a signature or a group, not "
        f"{type(found).__name__}; use task.s(...)"
    )
    return CanvasError(msg, path=path)
