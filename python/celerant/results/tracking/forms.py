"""The form of results in records: Celery's ``as_tuple``.

A form is ``((id, parent form or None), member forms or None)``, as tuples or lists. A
line is the same without nesting, ``[(id, member forms or None), ...]`` from the first
to the last, so that a chain of a thousand steps needs no recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerant._core import Roster

__all__ = [
    "clipped",
    "form_of",
    "form_with_parents",
    "groups_in",
    "has_groups",
    "ids_in",
    "line_in",
    "member_tasks",
    "parted",
    "shape_of",
    "task_ids",
]


#: How deep the forms of a record may be nested. Each is two lists, and the readers of
#: JSON and YAML, Celery's too, take fewer than 1,000 levels.
_DEPTH = 100


def parted(form: Any) -> tuple[str, Any, Any]:
    """Return a form's id, its parent's form and its members' forms."""
    own, members = form
    # Celery's oldest form names the id alone.
    task_id, above = own if isinstance(own, (list, tuple)) else (own, None)
    return task_id, above, members


def line_in(form: Any) -> list[tuple[str, Any]]:
    """Return the line of a form."""
    line = []
    while form is not None:
        task_id, form, members = parted(form)
        line.append((task_id, members))
    line.reverse()
    return line


def shape_of(form: Any) -> list[tuple[str, Any]]:
    """Return the shape of a form, as `Roster.keep_shapes` takes it."""
    return [
        (task_id, None if members is None else list(map(shape_of, members)))
        for task_id, members in line_in(form)
    ]


def clipped(form: Any, depth: int = _DEPTH) -> Any:
    """Return a form for a record; of a long line, only the end is kept.

    A group keeps all its members, and their lines may use the rest of `depth`.
    """
    task_id, above, members = parted(form)
    if above is None and members is None:
        return form
    depth -= 1
    if above is not None:
        above = clipped(above, depth) if depth > 0 else None
    if members is not None:
        members = [clipped(member, depth) for member in members]
    return (task_id, above), members


def form_with_parents(result: Any) -> Any:
    """Return the form of a result with all its parents, without recursion."""
    line = []
    while result is not None:
        line.append((result.id, result.member_forms()))
        result = result.parent
    form: Any = None
    for task_id, members in reversed(line):
        form = (task_id, form), members
    return form


def ids_in(form: Any) -> Iterator[str]:
    """Yield the ids of all tasks in a form: of its members and its parents."""
    pending = [form]
    while pending:
        task_id, above, members = parted(pending.pop())
        if above is not None:
            pending.append(above)
        if members is None:
            yield task_id
        else:
            pending.extend(reversed(members))


def form_of(roster: Roster, group_id: str, above: Any = None) -> Any:
    """Return the form of a group.

    Args:
        roster: The members' ids.
        group_id: The group's id.
        above: The form of its parent.
    """
    ids = roster.ids(0, len(roster))
    members: list[Any] = [((task_id, None), None) for task_id in ids]
    for start, stop, _ in roster.shapes():
        members[start:stop] = map(roster.form, range(start, stop))
    return (group_id, above), members


def task_ids(roster: Roster) -> Iterator[str]:
    """Yield the ids of a group's tasks, with all steps of its chains."""
    at = 0
    for start, stop, _ in roster.shapes():
        yield from roster.ids(at, start)
        for index in range(start, stop):
            yield from ids_in(roster.form(index))
        at = stop
    yield from roster.ids(at, len(roster))


def member_tasks(roster: Roster, indices: list[int]) -> Iterator[str]:
    """Yield the ids of members, each with those of the steps before it."""
    for index, task_id in zip(indices, roster.select(indices), strict=True):
        form = roster.form(index)
        if form is None:
            yield task_id
        else:
            yield from ids_in(form)


def groups_in(roster: Roster, start: int = 0) -> Iterator[int]:
    """Yield the members from `start` on whose result is a group's."""
    for first, stop, shape in roster.shapes(start):
        if shape[-1][1] is not None:
            yield from range(first, stop)


def has_groups(roster: Roster) -> bool:
    """Whether the result of any member is a group's."""
    return next(groups_in(roster), None) is not None
