"""Results by their ids alone: what Celery's `as_tuple` says, as results again."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier, Roster
from celerant.context.apps import current_app
from celerant.errors import IncompleteStream
from celerant.results.forms import form_of, line_in, parted, shape_of
from celerant.results.group_result import GroupResult
from celerant.results.members import Members
from celerant.results.result import AsyncResult

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend

__all__ = [
    "from_line",
    "incomplete",
    "iterdeps",
    "line_of",
    "member_parent",
    "nested_result",
    "result_from_tuple",
    "settle",
    "task_ids",
]

#: For a roster none of whose ids derive from a seed.
_NO_SEED = bytes(16)


def result_from_tuple(form: Any, app: Any = None, *, parent: Any = None) -> Any:
    """Return the `AsyncResult` or `GroupResult` that a form describes.

    Args:
        form: ``((id, parent form or None), member forms or None)``: what `as_tuple` of
            Celery's results and of these returns, also as JSON's lists; a result is
            returned as it is.
        app: Whose results they are, or where these are stored; None: the app made last.
        parent: In place of the parent that the form names.
    """
    if isinstance(form, (AsyncResult, GroupResult)):
        return form
    if app is None:
        app = current_app()
    backend: Backend = getattr(app, "backend", app)
    line = line_in(form)
    return from_line(line if parent is None else line[-1:], backend, parent=parent)


def from_line(line: Any, backend: Backend, *, parent: Any = None) -> Any:
    """Return the last result of a line, ``[(id, member forms or None), ...]``."""
    ids = [task_id for task_id, members in line if members is None]
    # The tasks of a line share one view: to wait for the last is to hear of all.
    tasks = Members(_roster(_NO_SEED, ids), _sealed(len(ids)), backend)
    made, at = parent, 0
    for task_id, members in line:
        if members is None:
            made = AsyncResult(task_id, None, members=tasks, index=at, parent=made)
            at += 1
        else:
            made = _group(task_id, members, backend, made)
    return made


def line_of(result: Any) -> list[tuple[str, Any]]:
    """Return what `from_line` takes for a result with all that it follows."""
    line: list[tuple[str, Any]] = []
    while result is not None:
        is_task = isinstance(result, AsyncResult)
        line.append((result.id, None if is_task else form_of(result.roster, "")[1]))
        result = result.parent
    line.reverse()
    return line


def member_parent(members: Members, index: int) -> Any:
    """Return what a group's member follows inside it, None where nothing."""
    form = members.roster.outcome(index)
    above = None if form is None else parted(form)[1]
    return None if above is None else result_from_tuple(above, members.backend)


def nested_result(outer: Members, index: int) -> GroupResult[Any]:
    """Return the result of a member that has a group's results as its own."""
    result: GroupResult[Any]
    result = result_from_tuple(outer.roster.outcome(index), outer.backend)
    inner = result._members  # noqa: SLF001 - of the same room
    inner.sent_at, inner.losses = outer.sent_at, outer.losses
    inner.pid = outer.pid
    inner.path = f"{outer.path or 'group'}[{index}]"
    result.index = index
    return result


def settle(result: Any, state: int) -> None:
    """Let a result be done for those who wait for it here.

    Args:
        result: Of a task; of a group all its members are meant.
        state: ``Barrier.IGNORED`` or ``NOT_SENT``.
    """
    barrier = result._members.barrier  # noqa: SLF001 - of the same room
    if isinstance(result, AsyncResult):
        barrier.arrive(result._index, state)  # noqa: SLF001 - of the same room
    else:
        barrier.arrive_range(0, len(result), state)


def task_ids(result: Any) -> list[str]:
    """Return the id of a task, or those of a group's members."""
    if isinstance(result, AsyncResult):
        return [result.id]
    return [member.id for member in result]


def iterdeps(result: Any, *, intermediate: bool) -> Iterator[tuple[Any, Any]]:
    """Yield (parent, result) for `result` and all that its tasks have sent.

    Raises:
        IncompleteStream: One of them is not done, and not `intermediate`.
    """
    pending = deque([(None, result)])
    seen: set[str] = set()
    while pending:
        parent, node = pending.popleft()
        yield parent, node
        # Records may say that two tasks have sent each other.
        if node.id in seen:
            continue
        seen.add(node.id)
        if node.ready():
            pending.extend((node, child) for child in node.children)
        elif not intermediate:
            raise IncompleteStream(incomplete(node))


def incomplete(result: Any) -> str:
    """Return why what follows a result cannot be told."""
    return (
        f"{result!r} is not done, so that what it has sent is not known yet; wait for "
        "it, or pass intermediate=True"
    )


def _roster(seed: bytes, ids: Iterable[str]) -> Roster:
    ids = list(ids)
    roster = Roster(seed, len(ids))
    for index, task_id in enumerate(ids):
        roster.adopt(index, task_id)
    return roster


def _sealed(count: int) -> Barrier:
    barrier = Barrier()
    barrier.grow(count)
    barrier.seal(count)
    return barrier


def _group(group_id: str, forms: Any, backend: Backend, parent: Any) -> Any:
    # A seed of its own: what is stored beside a group's results goes by it.
    roster = _roster(uuid.uuid4().bytes, (parted(form)[0] for form in forms))
    for index, form in enumerate(forms):
        _, above, members = parted(form)
        if above is not None or members is not None:
            roster.place(index, index + 1, shape_of(form))
    return GroupResult(
        roster=roster,
        group_id=group_id,
        barrier=_sealed(len(forms)),
        backend=backend,
        parent=parent,
    )
