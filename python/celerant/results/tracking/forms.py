"""The form that results have in records: Celery's ``as_tuple``.

A form is ``((id, parent form or None), member forms or None)``, as tuples or lists; a
line is the same without its nesting, ``[(id, member forms or None), ...]`` from the
first to the last: a chain of a thousand steps is no recursion.
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
    "parted",
    "shape_of",
    "task_ids",
]


#: How many forms inside one another a record may have. Each is two lists, and Python's
#: readers of JSON and YAML, also Celery's own, take fewer than 1,000 levels.
_DEPTH = 100


def parted(form: Any) -> tuple[str, Any, Any]:
    """Return id, parent's form and members' forms."""
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
    """Return what `Roster.place` takes for a form."""
    return [
        (task_id, None if members is None else list(map(shape_of, members)))
        for task_id, members in line_in(form)
    ]


def clipped(form: Any, depth: int = _DEPTH) -> Any:
    """Return a form for a record: of a long line its end alone.

    What is nearest counts: groups keep all their members, and these what is left of
    `depth` for their own lines.
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
    """Return the form of a result and of all that it follows, without recursion."""
    line = []
    while result is not None:
        line.append((result.id, result.member_forms()))
        result = result.parent
    form: Any = None
    for task_id, members in reversed(line):
        form = (task_id, form), members
    return form


def ids_in(form: Any) -> Iterator[str]:
    """Yield the ids of all tasks in a form: members, and what they follow."""
    pending = [form]
    while pending:
        task_id, above, members = parted(pending.pop())
        # What is to come first is put down last.
        if above is not None:
            pending.append(above)
        if members is None:
            yield task_id
        else:
            pending.extend(reversed(members))


def form_of(roster: Roster, group_id: str, above: Any = None) -> Any:
    """Return the form of a group by the ids of its members.

    Args:
        roster: Their ids.
        group_id: The group's.
        above: The form of what it follows.
    """
    ids = roster.ids(0, len(roster))
    members: list[Any] = [((task_id, None), None) for task_id in ids]
    for start, stop, _ in roster.shapes():
        members[start:stop] = map(roster.form, range(start, stop))
    return (group_id, above), members


def task_ids(roster: Roster) -> Iterator[str]:
    """Yield the ids of a group's tasks: of chains in it all steps."""
    at = 0
    for start, stop, _ in roster.shapes():
        yield from roster.ids(at, start)
        for index in range(start, stop):
            yield from ids_in(roster.form(index))
        at = stop
    yield from roster.ids(at, len(roster))


def groups_in(roster: Roster, start: int = 0) -> Iterator[int]:
    """Yield the members from `start` on that have a group's results as their own."""
    for first, stop, shape in roster.shapes(start):
        if shape[-1][1] is not None:
            yield from range(first, stop)


def has_groups(roster: Roster) -> bool:
    """Whether any member has a group's results as its own."""
    return next(groups_in(roster), None) is not None
