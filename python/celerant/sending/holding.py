"""Canvases that have their ids and results now and are sent later, or never."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celerant._core import Barrier
from celerant.canvas.group import group
from celerant.canvas.signature import Signature
from celerant.dispatch.options import check_options
from celerant.sending.eager import check_call

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.results.members import Members

__all__ = ["Held", "hold"]


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
        self._members: Members = result._members  # noqa: SLF001 - the app joins both ways
        self._dropped = weakref.finalize(self, _drop, self._members, unsent)
        # At the interpreter's end nobody is left to be told.
        self._dropped.atexit = False

    def refuse_waiting(self, refuse: Callable[[], None]) -> None:
        """Call `refuse` before a wait; it raises where that would be for ever."""
        self._members.refuse_waiting = refuse

    def send(self) -> None:
        """Send it now.

        Raises:
            Exception: As `apply_async`; the result says what was not sent.
        """
        if self._dropped.detach() is None:
            return
        members, barrier = self._members, self._members.barrier
        members.refuse_waiting = None
        try:
            self._send()
        except BaseException as exc:
            if members.barrier is barrier:
                # Not even tried: else the dispatch has said what became of whom.
                _drop(members, f"{type(exc).__name__}: {exc}")
            raise


def _drop(members: Members, why: str) -> None:
    members.refuse_waiting = None
    members.unsent = why
    members.barrier.arrive_range(0, len(members.barrier), Barrier.NOT_SENT)
    members.notify()


def hold(  # noqa: PLR0913 - a call and its options
    app: Celerant,
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
    return _hold_signature(app, canvas, args, kwargs, options, unsent)


def _hold_group(  # noqa: PLR0913, PLR0917 - as `hold`
    app: Celerant,
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
    app: Celerant,
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
