"""Canvases of tasks that have an `apply_async` of their own; see `tasks.noting`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celerant._core import Roster
from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord
from celerant.canvas.data import positional
from celerant.canvas.group import group
from celerant.canvas.signature import Signature
from celerant.canvas.source import Stream
from celerant.errors import CanvasError
from celerant.results.async_result import AsyncResult
from celerant.tasks.noting import NOTING, Noted, are_any
from celerant.tasks.task import Task

if TYPE_CHECKING:
    from celerant.context.call import Call
    from celerant.context.host import App
    from celerant.sending.call import SentCall

__all__ = ["apply_async_of", "first_noted", "members_noted"]

#: Options of a call that stay the call's: its members have no place for them.
_OF_CALL = frozenset(
    {
        *("add_to_parent", "connection", "producer", "publisher"),
        *("retry", "retry_policy", "task_id", "group_id", "group_index"),
        *("chord", "chain", "root_id", "parent_id", "link", "link_error"),
    }
)


def apply_async_of(app: App, canvas: Any) -> Callable[..., Any] | None:
    """Return the `apply_async` that the task of a signature has of its own.

    None: it has none, or the canvas is no single task.
    """
    if not are_any() or canvas["subtask_type"] is not None:
        return None
    task = app.tasks.get(canvas["task"])
    return None if task is None else _own(task)


def _own(task: Any) -> Callable[..., Any] | None:
    found: Callable[..., Any] = task.apply_async
    is_own = "apply_async" in vars(task) or type(task).apply_async is not _PLAIN
    return found if is_own else None


_PLAIN = Task.apply_async


def first_noted(app: App, canvas: Any, call: Call) -> tuple[Any, Call]:
    """Return a chain or a held task, and its call, with what leaves first noted.

    The first step of a chain is sent here. The others are sent by workers, which call
    their `apply_async`.
    """
    if not _are_any_of(app):
        return canvas, call
    options = dict(call.options)
    noting = _Noting(app, None, call.args, call.kwargs, {})
    headers = options.pop("headers", None)
    if headers is not None:
        # They are for the first step alone.
        canvas = canvas.clone()
        canvas.options = {**canvas.options, "headers": headers}
    return noting.canvas(canvas, canvas.task), call._replace(options=options)


def members_noted(
    app: App,
    source: Any,
    roster: Roster,
    call: SentCall,
    only: Iterable[tuple[int, int]] | None,
) -> tuple[Any, dict[str, Any]]:
    """Return the members of a group with their calls noted, and the call's options.

    Args:
        app: It has the tasks.
        source: The members as they were given.
        roster: Of their ids.
        call: What they are sent with.
        only: The positions that are sent; None is all.
    """
    if not _are_any_of(app):
        return source, call.options
    moved = {
        name: value
        for name, value in call.options.items()
        if name not in _OF_CALL and name not in call.options.get("stamped_headers", ())
    }
    moved.pop("stamped_headers", None)
    kept = {name: call.options[name] for name in call.options.keys() - moved.keys()}
    noting = _Noting(app, roster, call.args, call.kwargs, moved, only)
    if call.stamp is None and call.journal is None and "chord" not in kept:
        # Members of others are known by their positions, or are counted beforehand.
        noting.leaves_out = call
    if isinstance(source, (list, tuple)):
        return list(noting.members(source, "group")), kept
    return Stream(noting.members(source, "group")), kept


def _are_any_of(app: App) -> bool:
    return are_any() and any(_own(task) is not None for task in app.tasks.values())


class _Noting:
    """Calls the tasks' own methods for the members of one canvas.

    Args:
        app: It has the tasks.
        roster: Of the members' ids; None for other canvases than groups.
        args: Of the call.
        kwargs: Of the call.
        options: Of the call, as far as they become the members'.
        only: The positions that are sent; None is all.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a whole call
        self,
        app: App,
        roster: Roster | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        only: Iterable[tuple[int, int]] | None = None,
    ) -> None:
        self._app = app
        # A copy, for the roster itself grows by what is sent.
        self._ids = None if roster is None else Roster(roster.seed)
        self._args = args
        self._kwargs = kwargs
        self._options = options
        self._only = None if only is None else list(only)
        #: The position of the next member.
        self._index = 0
        #: The call of a group that goes without members whose method sends nothing.
        self.leaves_out: SentCall | None = None

    def members(self, source: Iterable[Any], path: str) -> Iterator[Any]:
        """Yield members with their calls noted."""
        for at, member in enumerate(source):
            made = self._member(member, self._options, f"{path}[{at}]")
            if made is not None:
                yield made

    def _member(self, member: Any, options: Mapping[str, Any], path: str) -> Any:
        made: Any
        if isinstance(member, group):
            made = member.clone()
            inner = member.merged_options(options)
            made.options = {k: v for k, v in inner.items() if k in _OF_CALL}
            moved = {k: v for k, v in inner.items() if k not in _OF_CALL}
            made["kwargs"] = {
                **member["kwargs"],
                "tasks": [
                    made_of
                    for at, part in enumerate(member.tasks)
                    if (made_of := self._member(part, moved, f"{path}[{at}]"))
                    is not None
                ],
            }
            return made
        index, self._index = self._index, self._index + 1
        if not isinstance(member, (Signature, Chain, chord)):
            # The core refuses it, or it is a plain dict.
            return member
        is_sent = self._only is None or any(a <= index < b for a, b in self._only)
        if is_sent and type(member) is Signature and (own := self._of(member)):
            task_id = self._id(index)
            noted = self._called(member, own, options, task_id)
            if noted is None:
                if self.leaves_out is None:
                    raise _unsent(member, path)
                self.leaves_out.is_short = True
                self._index -= 1
            return noted
        made = member.clone()
        made.options = member.merged_options(options)
        return self.canvas(made, path) if is_sent else made

    def _id(self, index: int) -> str | None:
        """Return the id that the roster will give a member without one of its own."""
        ids = self._ids
        if ids is None:
            return None
        ids.resize(max(index + 1, len(ids)))
        return ids.id(index)

    def canvas(self, canvas: Any, path: str) -> Any:
        """Return a canvas with the tasks noted that leave with it."""
        made: Any
        if type(canvas) is Signature:
            return self._step(canvas, path)
        if isinstance(canvas, (group, chord)):
            made = canvas.clone()
            made.tasks = [
                self.canvas(part, f"{path}[{at}]") for at, part in enumerate(made.tasks)
            ]
            return made
        if isinstance(canvas, Chain) and canvas.tasks:
            made = canvas.clone()
            first, *later = made.tasks
            headers = made.options.pop("headers", None)
            if headers is not None:
                first.options = {**first.options, "headers": headers}
            made.tasks = [self.canvas(first, f"{path}.tasks[0]"), *later]
            return made
        return canvas

    def _step(self, signature: Signature[Any], path: str) -> Signature[Any]:
        own = self._of(signature)
        if own is None:
            return signature
        noted = self._called(signature, own, {}, None)
        if noted is None:
            raise _unsent(signature, path)
        return noted

    def _of(self, signature: Any) -> Callable[..., Any] | None:
        return apply_async_of(self._app, signature)

    def _called(
        self,
        signature: Signature[Any],
        own: Callable[..., Any],
        options: Mapping[str, Any],
        derived: str | None,
    ) -> Signature[Any] | None:
        """Return a signature of what a task's own `apply_async` hands on; or None."""
        app = self._app
        args, kwargs = signature.merged(self._args, self._kwargs)
        given = signature.merged_options(options)
        task_id = given.setdefault("task_id", derived or str(uuid.uuid4()))
        noted = Noted(
            app.tasks[signature["task"]], AsyncResult(str(task_id), app=self._app)
        )
        token = NOTING.set(noted)
        try:
            own(args, kwargs, **given)
        finally:
            NOTING.reset(token)
        if noted.call is None:
            return None
        args, kwargs, given = noted.call
        if given.get("task_id") == derived:
            # The roster gives it anyway.
            given.pop("task_id", None)
        return Signature(
            signature.task,
            positional(args),
            dict(kwargs or {}),
            given,
            # The call's arguments are among them.
            immutable=True,
            app=signature.own_app,
        )


def _unsent(signature: Signature[Any], path: str) -> CanvasError:
    msg = (
        f"{path}: apply_async of task {signature.task} did not go on to "
        "Task.apply_async, so there is nothing to send; leave the task out"
    )
    return CanvasError(msg, path=path)
