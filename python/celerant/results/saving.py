"""Save results for later: groups under their ids, and any result as a pickle."""

from __future__ import annotations

import copy
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from celerant._core import Barrier
from celerant.common.printable import line, shown
from celerant.context.apps import current_app
from celerant.errors import CanvasError, CelerantError
from celerant.results.handle import rebuilt, snapshot
from celerant.results.tree import from_line, line_of, result_from_tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from celerant.results.backends.base import Backend
    from celerant.results.base import Result
    from celerant.results.group_result import GroupResult
    from celerant.results.tracking.members import Members

__all__ = [
    "GroupResults",
    "copied",
    "delete",
    "forget_records",
    "reduced",
    "restore",
    "save",
    "unpickled",
]

#: The most records that one call deletes.
_FORGET_CHUNK = 10_000


def save(result: GroupResult[Any], backend: Backend) -> None:
    """Store a group's form under its id, as Celery does.

    Raises:
        CelerantError: The store keeps no groups.
    """
    _check(result.id, backend)
    backend.save_group(result.id, result.as_tuple())


def delete(group_id: str, backend: Backend) -> None:
    """Delete a saved group's form.

    Raises:
        CelerantError: As for `save`.
    """
    _check(group_id, backend)
    backend.delete_group(group_id)


def forget_records(backend: Backend, ids: Iterator[str]) -> None:
    """Delete the records of many tasks, some thousands at a time."""
    while chunk := list(islice(ids, _FORGET_CHUNK)):
        backend.forget(chunk)


def restore(group_id: str, app: Any) -> GroupResult[Any] | None:
    """Return the group that was saved under an id; None if there is none.

    Args:
        group_id: The id.
        app: An app or a backend; None is the app made last.

    Raises:
        CelerantError: As for `save`.
    """
    app = current_app() if app is None else app
    backend: Backend = getattr(app, "backend", app)
    _check(group_id, backend)
    try:
        form = backend.restore_group(group_id)
        made = None if form is None else result_from_tuple(form, backend)
    except CelerantError:
        raise
    except Exception as exc:
        # The store may hold anything.
        msg = f"what is saved as group {shown(group_id)} is none: {line(exc)}"
        raise CelerantError(msg) from exc
    result: GroupResult[Any] | None = made
    return result


class GroupResults:
    """Makes and restores the groups of one app: Celery's ``app.GroupResult``."""

    __slots__ = ("_app",)

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(
        self,
        id: str,  # noqa: A002 - Celery's name
        results: Iterable[Any],
        parent: Any = None,
    ) -> GroupResult[Any]:
        """Return a group of tasks that were sent one by one.

        Args:
            id: The group's id.
            results: The results of its members, in order; these may be groups.
            parent: The result before the group.
        """
        form = (id, None), [result.as_tuple() for result in results]
        made: GroupResult[Any] = result_from_tuple(form, self._app)
        made.parent = parent
        return made

    def restore(
        self,
        id: str,  # noqa: A002 - Celery's name
        backend: Backend | None = None,
    ) -> GroupResult[Any] | None:
        """Return a group that was saved; see `GroupResult.restore`."""
        return restore(id, self._app if backend is None else backend)


def _check(group_id: str, backend: Backend) -> None:
    if backend.chord_counter() is None:
        msg = (
            f"group {group_id} cannot be saved or restored: {backend.as_uri()} keeps "
            "no groups; use redis://, sentinel:// or memory://"
        )
        raise CelerantError(msg)


# -- pickles ---------------------------------------------------------------------------


def reduced(result: Result) -> tuple[Any, ...]:
    """Return how a result is pickled: by its ids and those before it."""
    state = _state_of(result)
    return _unpickle(result), (state,)


def copied(result: Result) -> Any:
    """Return a copy, which asks the same store."""
    return unpickled(copy.deepcopy(_state_of(result)), result.backend)


def _state_of(result: Result) -> dict[str, Any]:
    members, index = result.members, result.position
    done: tuple[bytes, list[Any]]
    if index is None:
        if not members.barrier.is_sealed:
            msg = (
                f"group {result.id} is still being sent, and cannot be pickled before "
                "its size is known; wait for `result.sealed`"
            )
            raise CanvasError(msg)
        state = snapshot(cast("GroupResult[Any]", result))
        done = members.barrier.states(), members.values.list(0, len(members.barrier))
    else:
        state = {"line": line_of(result), "sent_at": members.sent_at}
        done = bytes([members.barrier.state(index)]), [members.values.get(index)]
    if members.ran_here:
        # It has no record, so its states and values are pickled too.
        state["done"] = done
    return state


def unpickled(state: dict[str, Any], backend: Backend) -> Any:
    """Return the result of a pickle's `state`."""
    done = state.pop("done", None)
    if "line" in state:
        result = from_line(state["line"], backend)
        result.members.sent_at = state["sent_at"]
    else:
        result = rebuilt(backend, **state)
    if done is not None:
        members: Members = result.members
        members.ran_here = True
        # If it is a line, only the last result has a state.
        first = len(members.barrier) - len(done[0])
        for index, (code, value) in enumerate(zip(*done, strict=True), first):
            if code != Barrier.PENDING:
                members.put(index, code, value)
    return result


def _unpickle(result: Any) -> Callable[[dict[str, Any]], Any]:
    unpickle: Callable[[dict[str, Any]], Any] | None = result.backend.unpickle
    if unpickle is None:
        msg = (
            f"{result!r} cannot be pickled: its backend belongs to no app, through "
            "which it would be made again; pass its id"
        )
        raise CelerantError(msg)
    return unpickle
