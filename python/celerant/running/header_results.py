"""The result of a chord's header, for bodies that take it instead of a list."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celerant._core import Roster
from celerant.common.per_process import PerProcess
from celerant.common.printable import shown
from celerant.errors import HandleError
from celerant.results.group_result import GroupResult
from celerant.results.handle import make_handle
from celerant.results.tracking.members import Members, sealed
from celerant.tasks.group_results import attached

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.backends.base import Backend
    from celerant.results.backends.chords import CompleteChord

__all__ = ["header_handle", "takes_result", "with_values"]

logger = logging.getLogger("celerant.worker")

#: The most ids that are compared together.
_IDS = 10_000
#: Names of bodies for which it was logged that they get lists.
_told: PerProcess[set[str]] = PerProcess(set)


def takes_result(tasks: Mapping[str, Any], canvas: Any) -> bool:
    """Whether all tasks that a body begins with take the result of its header.

    Args:
        tasks: The registered tasks by name.
        canvas: The body, as a message carries it.
    """
    waiting, found = [canvas], False
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Mapping) or one.get("immutable"):
            return False
        kind, kwargs = one.get("subtask_type"), one.get("kwargs")
        inner = kwargs if isinstance(kwargs, Mapping) else {}
        if kind == "group":
            waiting += _listed(inner.get("tasks"))
        elif kind == "chain":
            waiting += _listed(inner.get("tasks"))[:1]
        elif kind == "chord":
            header = inner.get("header")
            waiting += _listed(header) if isinstance(header, list) else [header]
        else:
            name = one.get("task")
            task = tasks.get(name) if isinstance(name, str) else None
            if not getattr(task, "takes_header", False):
                return False
            found = True
    return found


def _listed(value: Any) -> list[Any]:
    return [*value] if isinstance(value, (list, tuple)) else [None]


def header_handle(
    chord: CompleteChord, backend: Backend, body: Any, *, after: str | None = None
) -> str | None:
    """Return the handle of a complete header; None if its body gets a list.

    The body gets a list if results are ignored or have expired.

    Args:
        chord: The header.
        backend: The store of its results.
        body: The body, as a message carries it.
        after: The id of a task of the header: if its part is not counted yet, the
            result is None too.

    Raises:
        ChordError: A task of the header failed.
        CelerantError: The store refused, or is not reachable.
    """
    store = backend.handles_here()
    if store is None:
        return None
    form = chord.form()
    if form is not None:
        # All results were read, so they are there.
        members = Members.of_forms(form[1], backend)
    else:
        ids = chord.ids()
        # A part is counted after the task's function and its callbacks. Before that, a
        # call of the body is the user's own.
        if after is not None and after not in ids:
            return None
        missing = len(ids) - backend.count_stored(ids)
        if missing:
            _tell(body, f"{missing} of {len(ids)} results of its header are not stored")
            return None
        members = _members(chord.group_id, ids, backend)
    result: GroupResult[Any] = GroupResult(chord.group_id, members)
    return make_handle(result, store, is_done=True)


def _members(group_id: str, ids: list[str], backend: Backend) -> Members:
    """Return the members of a flat header.

    If Celerant has sent the header, its ids derive from the group's, and its handle is
    short.
    """
    with contextlib.suppress(ValueError):
        roster = Roster(uuid.UUID(group_id).bytes, len(ids))
        if all(
            roster.ids(start, min(start + _IDS, len(ids))) == ids[start : start + _IDS]
            for start in range(0, len(ids), _IDS)
        ):
            barrier = sealed(len(ids))
            return Members(roster, backend, barrier=barrier, is_group=True)
    return Members.of_forms([((one, None), None) for one in ids], backend)


def _tell(body: Any, reason: str) -> None:
    name, told = str(body.get("task")), _told.get()
    if name not in told:
        told.add(name)
        logger.warning(
            "the body %s of a chord gets a list instead of a GroupResult: %s",
            shown(name),
            reason,
        )


def with_values(request: Request, backend: Backend) -> None:
    """Replace a handle in the arguments of a body by the list of values.

    It is for a child process, which cannot read results in this process's memory.

    Args:
        request: The request of a task that takes a header's result.
        backend: A backend in this process's memory.
    """
    if not request.args or not isinstance(request.args[0], str):
        return
    handle, *rest = request.args
    with contextlib.suppress(HandleError):
        # If it is no handle, the task raises that.
        result = attached(handle, backend)
        request.args = (result.get(disable_sync_subtasks=False), *rest)
