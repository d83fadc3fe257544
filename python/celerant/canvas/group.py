"""Tasks that are sent together and awaited together."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from celerant.canvas.signature import (
    Canvas,
    Signature,
    maybe_signature,
    positional,
)
from celerant.canvas.source import Mapped, Stream
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.canvas.host import Host
    from celerant.results.group_result import GroupResult
    from celerant.task import Task

__all__ = ["group"]

R = TypeVar("R")

_NO_LINK = "Cannot add link to group: use a chord"
_NO_ERRLINK = "Cannot add link to group: do that on individual tasks"


class group(Canvas, Generic[R]):  # noqa: N801 - Celery's name
    """Members that go out as one volley; their results come back in order.

    Shape: members are unrolled left to right, depth first; the result at position i
    belongs to ``group_index`` i. A nested group loses its own options.

    Args:
        tasks: Signatures, groups or their plain dict form: as arguments, or as one
            list, tuple or generator. A generator is consumed by its dispatch and
            never held whole; `len`, `tasks` and `freeze` hold it.
        options: Options of every member, over the member's own.
    """

    __slots__ = ("_owns", "_seed")

    #: Set by `freeze`: sending again then uses the same ids.
    _seed: bytes | None
    #: Whether the list of members was made here, and may be changed.
    _owns: bool

    @overload
    def __init__(
        self, *tasks: Signature[R], app: Host | None = None, **options: Any
    ) -> None: ...
    @overload
    def __init__(
        self, *tasks: Iterable[Signature[R]], app: Host | None = None, **options: Any
    ) -> None: ...
    @overload
    def __init__(
        self, *tasks: Any, app: Host | None = None, **options: Any
    ) -> None: ...
    def __init__(self, *tasks: Any, app: Host | None = None, **options: Any) -> None:
        super().__init__(
            "celery.group", (), {"tasks": _members(tasks)}, options, "group", app=app
        )
        self._seed = None
        self._owns = False

    @classmethod
    def map(
        cls, task: Task[Any, R], items: Iterable[Any], /, **options: Any
    ) -> group[R]:
        """Make a group of one task per item, each called with that one argument.

        Holds no signature per item. (Celery's ``task.map`` is one message whose
        worker loops over all items; this is n messages.)
        """
        return cls._mapped(task, items, options, star=False)

    @classmethod
    def starmap(
        cls, task: Task[Any, R], items: Iterable[Iterable[Any]], /, **options: Any
    ) -> group[R]:
        """Make a group of one task per item, called with that item's arguments."""
        return cls._mapped(task, items, options, star=True)

    @classmethod
    def _mapped(
        cls, task: Any, items: Iterable[Any], options: dict[str, Any], *, star: bool
    ) -> group[R]:
        name = task if isinstance(task, str) else task.name
        made: group[R] = cls(app=getattr(task, "app", None), **options)
        made["kwargs"]["tasks"] = Mapped(name, items, {}, star=star)
        return made

    @property
    def app(self) -> Host:
        """Own app, else the first member's, else the one made last."""
        seen: set[int] = set()
        canvas: Any = self
        # A loop, for groups may be nested deeper than Python's stack; `seen`, for a
        # cycle is refused only when it is sent.
        while isinstance(canvas, Canvas) and id(canvas) not in seen:
            if canvas._app is not None:  # noqa: SLF001 - of its own class
                return canvas._app  # noqa: SLF001 - of its own class
            seen.add(id(canvas))
            source = canvas["kwargs"].get("tasks")
            if isinstance(source, Stream):
                canvas = source.peek()
            elif isinstance(source, (list, tuple)):
                canvas = source[0] if source else None
            else:
                break
        return super().app

    @property
    def tasks(self) -> list[Any]:
        """The members as a list; holds a generator's from now on."""
        source = self["kwargs"]["tasks"]
        if isinstance(source, (Stream, Mapped)):
            source = source.hold()
            self["kwargs"]["tasks"] = source
        return cast("list[Any]", source)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        source = self["kwargs"]["tasks"]
        # Whether a generator is empty is known only by consuming it.
        return True if isinstance(source, (Stream, Mapped)) else bool(source)

    def add(self, member: Signature[R] | group[R]) -> None:
        """Append a member; Celery's group has no such method."""
        if not self._owns:
            # The list may be the caller's, or another group's.
            self["kwargs"]["tasks"] = list(self.tasks)
            self._owns = True
        self.tasks.append(member)

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's name and form
        """Say of every member whether it ignores the arguments of a call."""
        for member in self.tasks:
            member.set_immutable(immutable)

    def clone(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> group[R]:
        """Return a copy whose members are copies."""
        members = [
            self._member(index, member).clone(args, kwargs)
            for index, member in enumerate(self.tasks)
        ]
        cloned: group[R] = group(members, app=self._app)
        cloned["options"] = copy.deepcopy(self.merged_options(options))
        # A frozen group's copy has its ids, as the copies of its members have.
        cloned._seed = self._seed
        return cloned

    def _member(self, index: int, member: Any) -> Any:
        if not isinstance(member, Mapping):
            raise CanvasError(_no_member(index, member), path=f"group[{index}]")
        return maybe_signature(member, self._app)

    def freeze(self, **options: Any) -> GroupResult[R]:
        """Give the group and its members their ids; returns the result to come.

        Sending it, once or again, then uses these ids.
        """
        return cast("GroupResult[R]", self.app.sender.freeze_group(self, options))

    def delay(self, *args: Any, **kwargs: Any) -> GroupResult[R]:
        """Send it; arguments go to every member, before its own."""
        return self.apply_async(args, kwargs)

    def __call__(self, *args: Any, **options: Any) -> GroupResult[R]:
        """Send it; keywords are options here, as in Celery."""
        return self.apply_async(args, **options)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
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

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> GroupResult[R]:
        """Run every member here, one after the other."""
        return cast(
            "GroupResult[R]",
            self.app.sender.apply_group(self, positional(args), kwargs or {}, options),
        )

    def resume(self, result: GroupResult[R], unknown: str = "send") -> GroupResult[R]:
        """Send what `result`'s interrupted dispatch left over, under the same ids.

        Args:
            result: ``PublishError.result`` of the dispatch.
            unknown: ``"send"`` sends members again whose fate is unknown (they may
                run twice), ``"skip"`` counts them as sent.
        """
        return cast(
            "GroupResult[R]", self.app.sender.resume_group(self, result, unknown)
        )

    def __copy__(self) -> group[R]:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> group[R]:
        return self.clone()

    def __repr__(self) -> str:
        source = self["kwargs"]["tasks"]
        if isinstance(source, (Stream, Mapped)):
            return f"group({source!r})"
        shown = ", ".join("..." if m is self else repr(m) for m in source[:3])
        return f"group([{shown}{', ...' if len(source) > 3 else ''}])"  # noqa: PLR2004


def _members(tasks: tuple[Any, ...]) -> Any:
    """Return the members as the group keeps them: a list as given is not copied."""
    if len(tasks) != 1:
        return tasks
    (only,) = tasks
    if isinstance(only, group):
        return only["kwargs"]["tasks"]
    if isinstance(only, Signature):
        return [only.clone()]
    if isinstance(only, (list, tuple)):
        return only
    if isinstance(only, (str, bytes, Mapping)) or not isinstance(only, Iterable):
        raise CanvasError(_no_member(0, only), path="group[0]")
    return Stream(only)


def _no_member(index: int, found: Any) -> str:
    return (
        f"group[{index}]: a member must be a signature or a group, not "
        f"{type(found).__name__}; use task.s(...)"
    )
