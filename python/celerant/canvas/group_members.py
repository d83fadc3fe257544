"""The members of a group, as they are given to it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celerant.canvas.base import Canvas
from celerant.canvas.columns import columnar
from celerant.canvas.data import CanvasData, maybe_signature, stranger
from celerant.canvas.parts import Part, is_group, walk
from celerant.canvas.source import AsyncStream, Mapped, Stream
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.context.host import App

__all__ = [
    "checked",
    "groups_in",
    "mapped",
    "mark_members",
    "members_of",
    "refuse_strangers",
    "signed",
]

#: Polars' frame that has no rows yet: its package and name.
_LAZY_FRAME = ("polars", "LazyFrame")

_WHAT = "a member must be a signature or a group"


def members_of(tasks: tuple[Any, ...]) -> Any:
    """Return the members as the group keeps them: a list as given is not copied."""
    if len(tasks) == 1:
        (only,) = tasks
        if isinstance(only, Canvas) and is_group(only):
            return only["kwargs"]["tasks"]
        if isinstance(only, Canvas):
            return [only.clone()]
        if isinstance(only, (list, tuple)):
            refuse_strangers(only)
            return only
        if isinstance(only, AsyncIterable):
            return AsyncStream(only)
        if isinstance(only, (str, bytes, Mapping)) or not isinstance(only, Iterable):
            raise stranger(only, "group[0]", _WHAT)
        return Stream(only)
    refuse_strangers(tasks)
    return tasks


def refuse_strangers(members: list[Any] | tuple[Any, ...], start: int = 0) -> None:
    """Refuse what is no signature; the first of `members` is at `start`.

    Raises:
        CanvasError: There is such a member.
    """
    # By their types, of which there are few: a loop over the members would cost more
    # than to make the group.
    if all(issubclass(kind, dict) for kind in set(map(type, members))):
        return
    for position, member in enumerate(members, start):
        if not isinstance(member, dict):
            raise stranger(member, f"group[{position}]", _WHAT)


def checked(member: Any, position: int, part: Part) -> Any:
    """Return a member, which may have come into a list that was checked before."""
    if not isinstance(member, dict):
        raise stranger(
            member, Part(member, "member", "tasks", position, part).path, _WHAT
        )
    return member


def signed(members: list[Any] | tuple[Any, ...], app: App | None) -> Any:
    """Return members as canvases; the same list or tuple if all of them are."""
    if all(issubclass(kind, CanvasData) for kind in set(map(type, members))):
        return members
    refuse_strangers(members)
    return [maybe_signature(member, app) for member in members]


def groups_in(members: Canvas[Any]) -> list[Part]:
    """Return a group and all groups inside; members from a generator are held."""
    groups = list(walk(members, "group", takes=is_group, hold=True))
    for part in groups:
        kwargs = part.canvas.get("kwargs")
        tasks = kwargs.get("tasks") if isinstance(kwargs, dict) else None
        if not isinstance(tasks, (list, tuple)):
            msg = f"{part.path}: this group has no list of tasks"
            raise CanvasError(msg, path=part.path)
    return groups


def mark_members(
    part: Part,
    immutable: bool,  # noqa: FBT001 - as of `set_immutable`
    app: App | None,
) -> None:
    """Say of a group's members, but not of groups, whether they ignore a call's args.

    A group in plain dicts gets canvases for members: a chord marks its header itself.
    """
    kwargs = part.canvas["kwargs"]
    members = []
    for position, member in enumerate(kwargs["tasks"]):
        made = checked(member, position, part)
        if not is_group(made):
            made = maybe_signature(made, app)
            made.set_immutable(immutable)
        members.append(made)
    kwargs["tasks"] = members


def _read(items: Any, *, star: bool) -> Any:
    """Return the rows of a table or a column, and anything else as it is."""
    if isinstance(items, (list, tuple, range)):
        return items
    # Looked for only where there may be one: the packages are heavy.
    table = columnar(items, star=star)
    return items if table is None else table


def mapped(task: Any, items: Any, *, star: bool) -> Mapped:
    """Return the members of `group.map` or `group.starmap`."""
    form = "starmap" if star else "map"
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        msg = (
            f"group.{form} takes a task or a task's name, not "
            f"{type(task).__name__}; make one with @app.task"
        )
        raise CanvasError(msg, path="group")
    items = _read(items, star=star)
    if not isinstance(items, (Iterable, AsyncIterable)):
        each = "the arguments of each task" if star else "one argument per task"
        kind = type(items)
        is_lazy = (kind.__module__.partition(".")[0], kind.__name__) == _LAZY_FRAME
        remedy = "collect() it first" if is_lazy else "for one task put it into a list"
        msg = f"group.{form} takes an iterable of {each}, not {kind.__name__}; {remedy}"
        raise CanvasError(msg, path="group")
    return Mapped(name, items, {}, star=star)
