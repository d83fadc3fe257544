"""Canvases that have their ids and results now and are sent later, or never."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.canvas.base import Canvas, maybe_signature
from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord
from celerant.canvas.group import group
from celerant.canvas.send_options import check_options
from celerant.canvas.signature import Signature
from celerant.results.group_result import GroupResult
from celerant.running.in_place import check_call

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.results.tracking.members import Members

__all__ = ["Held", "go_on_as", "hold"]


class Held:
    """A send that waits for its word. Dropped without it, nothing is sent.

    Its result then has `NotSent` for every member; whoever holds the result must not
    hold this.
    """

    def __init__(self, result: Any, send: Callable[[], Any], *, unsent: str) -> None:
        """Hold `send` back.

        Args:
            result: What will become of it, for the caller.
            send: Sends it, and lets `result` go on as what was sent.
            unsent: Why it was not sent, should this be dropped.
        """
        self.result = result
        self._send = send
        self._members = _members_of(result)
        self._dropped = weakref.finalize(self, _drop, self._members, unsent)
        # At the interpreter's end nobody is left to be told.
        self._dropped.atexit = False

    def refuse_waiting(self, refuse: Callable[[], None]) -> None:
        """Call `refuse` before a wait; it raises where that would be for ever."""
        for members in self._members:
            members.refuse_waiting = refuse

    def send(self) -> None:
        """Send it now.

        Raises:
            Exception: As `apply_async`; the result says what was not sent.
        """
        if self._dropped.detach() is None:
            return
        before = [(members, members.barrier) for members in self._members]
        for members in self._members:
            members.refuse_waiting = None
        try:
            self._send()
        except BaseException as exc:
            # Of the others the dispatch has said what became of whom.
            untried = [members for members, old in before if members.barrier is old]
            _drop(untried, f"{type(exc).__name__}: {exc}")
            raise


def _members_of(result: Any) -> list[Members]:
    """Return what a result and those that it follows are kept in."""
    # The tasks of a line share theirs.
    return list({id(r.members): r.members for r in _line(result)}.values())


def _drop(held: list[Members], why: str) -> None:
    for members in held:
        members.refuse_waiting = None
        members.unsent = why
        members.barrier.arrive_range(0, len(members.barrier), Barrier.NOT_SENT)
        members.notify()


def go_on_as(held: Any, sent: Any) -> Any:
    """Let the held result of a chain or chord be that of what was sent; returns it.

    And those that it follows, by their ids: as in Celery, what is sent names fewer of
    them than what was frozen.
    """
    found = {_key(result): result for result in _line(sent)}
    ran_here = sent.members.ran_here
    for result in _line(held):
        counterpart = found.get(_key(result))
        if isinstance(result, GroupResult):
            if counterpart is not None:
                result.go_on_as(counterpart)
            continue
        members, index = result.members, result.position
        if counterpart is not None:
            members.take_over(index, counterpart.members, counterpart.position)
        elif ran_here:
            members.unsent = "a step before it ended the chain"
            members.barrier.arrive(index, Barrier.NOT_SENT)
            members.notify()
    return held


def _line(result: Any) -> Iterator[Any]:
    while result is not None:
        yield result
        result = result.parent


def _key(result: Any) -> Any:
    """Return what a result goes by: a header's group is sent under another id."""
    if not isinstance(result, GroupResult):
        return result.id
    return len(result), result.roster.id(0) if len(result) else None


def hold(  # noqa: PLR0913 - a call and its options
    app: App,
    canvas: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    *,
    unsent: str,
) -> Held:
    """Freeze a copy of a canvas and check it, so that it can be sent as it is now.

    Raises:
        SettingError: An option that does not exist.
        TypeError: A task that is known here does not take these arguments.
        CanvasError: A cycle, too deep, or something that is no member.
    """
    if isinstance(canvas, group):
        return _hold_group(app, canvas, args, kwargs, options, unsent)
    if isinstance(canvas, (Chain, chord)):
        return _hold_canvas(app, canvas, args, kwargs, options, unsent)
    return _hold_signature(app, canvas, args, kwargs, options, unsent)


def _hold_group(  # noqa: PLR0913, PLR0917 - as `hold`
    app: App,
    members: group[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    unsent: str,
) -> Held:
    check_options(options, "group")
    # A copy: sent a second time, the caller's own group gets new ids.
    frozen = members.clone()
    group_id = options.pop("task_id", None)
    if group_id:
        frozen.options["task_id"] = group_id
    result = frozen.freeze()
    for index, task in enumerate(frozen.tasks):
        path = f"group[{index}]"
        check_options(task.options, path, f"{path}: task {task.task}")
        if isinstance(task, Signature) and task.task in app.tasks:
            check_call(app, task, args, kwargs, index)

    def send() -> None:
        app.sender.send_group(
            frozen, args, kwargs, options, held=result, origin=members
        )

    return Held(result, send, unsent=unsent)


def _hold_signature(  # noqa: PLR0913, PLR0917 - as `hold`
    app: App,
    signature: Signature[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    unsent: str,
) -> Held:
    check_options(options, "task", f"task {signature.task}")
    if signature.task in app.tasks:
        check_call(app, signature, args, kwargs, None)
    frozen = signature.clone()
    task_id = options.pop("task_id", None)
    if task_id:
        frozen.options["task_id"] = task_id
    result = frozen.freeze()

    def send() -> None:
        app.sender.send_signature(frozen, args, kwargs, options, held=result)

    return Held(result, send, unsent=unsent)


def _hold_canvas(  # noqa: PLR0913, PLR0917 - as `hold`
    app: App,
    canvas: Chain[Any] | chord[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    unsent: str,
) -> Held:
    check_options(options, canvas.task)
    _check_tasks(app, canvas, args, kwargs)
    frozen = canvas.clone()
    result = frozen.freeze(options.pop("task_id", None))
    sender: Any = app.sender
    sends = sender.send_chord if isinstance(canvas, chord) else sender.send_canvas

    def send() -> None:
        sends(frozen, args, kwargs, options, held=result)

    return Held(result, send, unsent=unsent)


def _check_tasks(
    app: App, canvas: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Check the options of all tasks in a canvas, and the arguments of the first.

    Cycles, and what is no canvas, are found where it is frozen.
    """
    pending = [(canvas, canvas.task, True)]
    seen: set[int] = set()
    while pending:
        part, path, is_first = pending.pop()
        part = maybe_signature(part, app)
        if not isinstance(part, Canvas) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, (group, Chain, chord)):
            of_chain = isinstance(part, Chain)
            for index, inner in enumerate(part.tasks):
                begins = is_first and not (of_chain and index)
                pending.append((inner, f"{path}[{index}]", begins))
            if isinstance(part, chord) and part.body is not None:
                pending.append((part.body, f"{path}.chord_body", False))
            continue
        whose = f"{path}: task {part['task']}"
        check_options(part["options"], path, whose)
        if is_first and isinstance(part, Signature) and part.task in app.tasks:
            check_call(app, part, args, kwargs, None, path=path)
