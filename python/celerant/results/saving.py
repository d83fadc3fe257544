"""Results kept for later: groups under their ids, and any result as a pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.printable import line, shown
from celerant.context.apps import current_app
from celerant.errors import CelerantError
from celerant.results.handle import rebuilt, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult
    from celerant.results.result import AsyncResult

__all__ = [
    "GroupResults",
    "delete",
    "reduced_group",
    "reduced_task",
    "restore",
    "save",
    "unpickled",
]


def save(result: GroupResult[Any], backend: Backend) -> None:
    """Keep a group's form under its id, as Celery does.

    Raises:
        CelerantError: Nothing can be kept there.
    """
    _check(result.id, backend)
    backend.save_group(result.id, result.as_tuple())


def delete(group_id: str, backend: Backend) -> None:
    """Forget what `save` kept.

    Raises:
        CelerantError: As `save`.
    """
    _check(group_id, backend)
    backend.delete_group(group_id)


def restore(group_id: str, app: Any) -> GroupResult[Any] | None:
    """Return the group that was saved under an id; None where none was.

    Args:
        group_id: The id.
        app: An app or a backend; None: the app made last.

    Raises:
        CelerantError: As `save`.
    """
    from celerant.results.tree import result_from_tuple  # noqa: PLC0415 - it imports this module

    app = current_app() if app is None else app
    backend: Backend = getattr(app, "backend", app)
    _check(group_id, backend)
    try:
        form = backend.restore_group(group_id)
        made = None if form is None else result_from_tuple(form, backend)
    except CelerantError:
        raise
    except Exception as exc:
        # Whoever can write to the store writes what he likes.
        msg = f"what is saved as group {shown(group_id)} is none: {line(exc)}"
        raise CelerantError(msg) from exc
    result: GroupResult[Any] | None = made
    return result


class GroupResults:
    """The groups of one app: Celery's ``app.GroupResult``."""

    __slots__ = ("_app",)

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(
        self,
        id: str,  # noqa: A002 - Celery's name
        results: Iterable[Any],
        parent: Any = None,
    ) -> GroupResult[Any]:
        """Return the group of results that have been sent one by one.

        Args:
            id: Of the group.
            results: Its members, in order; groups among them, too.
            parent: The result that it follows.
        """
        from celerant.results.tree import result_from_tuple  # noqa: PLC0415 - as above

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


def reduced_task(result: AsyncResult[Any]) -> tuple[Any, ...]:
    """Return how a task's result is pickled: its id, and what it follows."""
    from celerant.results.tree import line_of  # noqa: PLC0415 - as above

    members, index = result._members, result._index  # noqa: SLF001 - of the same room
    state: dict[str, Any] = {"line": line_of(result), "sent_at": members.sent_at}
    if members.ran_here:
        # It has no record: what is known goes along.
        state["done"] = members.barrier.state(index), members.values[index]
    return _unpickle(result), (state,)


def reduced_group(result: GroupResult[Any]) -> tuple[Any, ...]:
    """Return how a group's result is pickled: ids, and what it follows."""
    members = result._members  # noqa: SLF001 - of the same room
    state = snapshot(members, result.id, result.parent)
    if members.ran_here:
        state["done"] = members.barrier.states(), members.values
    return _unpickle(result), (state,)


def unpickled(state: dict[str, Any], backend: Backend) -> Any:
    """Return the result that was pickled as `state`."""
    from celerant.results.tree import from_line  # noqa: PLC0415 - as above

    done = state.pop("done", None)
    if "line" not in state:
        group = rebuilt(backend, **state)
        if done is not None:
            _finish(group, *done)
        return group
    result = from_line(state["line"], backend)
    members = result._members  # noqa: SLF001 - as above
    members.sent_at = state["sent_at"]
    if done is not None:
        members.reserve()
        members.values[-1] = done[1]
        members.barrier.arrive(len(members.values) - 1, done[0])
        members.ran_here = True
    return result


def _finish(group: GroupResult[Any], states: bytes, values: list[Any]) -> None:
    members = group._members  # noqa: SLF001 - of the same room
    members.values = values
    for index, state in enumerate(states):
        if state:
            members.barrier.arrive(index, state)
    members.ran_here = True


def _unpickle(result: Any) -> Callable[[dict[str, Any]], Any]:
    unpickle: Callable[[dict[str, Any]], Any] | None = result.backend.unpickle
    if unpickle is None:
        msg = (
            f"{result!r} cannot be pickled: its backend belongs to no app, through "
            "which it would be made again; pass its id"
        )
        raise CelerantError(msg)
    return unpickle
