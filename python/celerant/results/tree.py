"""Make results from ids: from forms, as of Celery's `as_tuple`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celerant.common.with_form import WithForm
from celerant.context.apps import current_app
from celerant.errors import IncompleteStream
from celerant.results.tracking.forms import line_in, parted
from celerant.results.tracking.members import Members

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.tracking.member_backend import MemberBackend

__all__ = [
    "CLASSES",
    "from_line",
    "incomplete",
    "iterdeps",
    "line_of",
    "member_parent",
    "result_from_tuple",
]

#: The result class of each kind, ``"task"`` and ``"group"``; they register themselves.
CLASSES: dict[str, Any] = {}


def result_from_tuple(form: Any, app: Any = None, *, parent: Any = None) -> Any:
    """Return the `AsyncResult` or `GroupResult` that a form describes.

    Args:
        form: ``((id, parent form or None), member forms or None)``, as tuples or lists:
            the value of `as_tuple` of a result, Celery's too. A result is returned
            itself.
        app: The app or the store of the results; None is the app made last.
        parent: The result before it, in place of the parent in the form.
    """
    if isinstance(form, WithForm):
        return form
    if app is None:
        app = current_app()
    backend: Backend = getattr(app, "backend", app)
    line = line_in(form)
    return from_line(line if parent is None else line[-1:], backend, parent=parent)


def from_line(line: Any, backend: MemberBackend, *, parent: Any = None) -> Any:
    """Return the last result of a line, ``[(id, member forms or None), ...]``."""
    # The tasks of a line share one view, so a wait for the last hears of all.
    tasks = Members.of_ids([task_id for task_id, of in line if of is None], backend)
    made, at = parent, 0
    for task_id, forms in line:
        if forms is None:
            made = CLASSES["task"](task_id, members=tasks, index=at, parent=made)
            at += 1
        else:
            members = Members.of_forms(forms, backend)
            made = CLASSES["group"](task_id, members, parent=made)
    return made


def line_of(result: Any) -> list[tuple[str, Any]]:
    """Return the line of a result, for `from_line`."""
    line: list[tuple[str, Any]] = []
    while result is not None:
        line.append((result.id, result.member_forms()))
        result = result.parent
    line.reverse()
    return line


def member_parent(members: Members, index: int) -> Any:
    """Return the result before a member in its own chain; None if there is none."""
    form = members.roster.form(index)
    above = None if form is None else parted(form)[1]
    return None if above is None else from_line(line_in(above), members.backend)


def iterdeps(result: Any, *, intermediate: bool) -> Iterator[tuple[Any, Any]]:
    """Yield (parent, result) for `result` and all results that its tasks have sent.

    Raises:
        IncompleteStream: A task is not done, and `intermediate` is False.
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
    """Return why it is not known what a task has sent."""
    return (
        f"{result!r} is not done, so that what it has sent is not known yet; wait for "
        "it, or pass intermediate=True"
    )
