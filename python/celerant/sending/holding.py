"""Canvases that have their ids and results now and are sent later, or never."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant._core import Barrier
from celerant.canvas.data import maybe_signature
from celerant.canvas.kinds import kind_of
from celerant.canvas.parts import walk
from celerant.canvas.send_options import check_part
from celerant.results.group_result import GroupResult
from celerant.running.in_place import check_call

if TYPE_CHECKING:
    from celerant.context.call import Call
    from celerant.context.host import App
    from celerant.results.tracking.members import Members

__all__ = ["Frozen", "Held", "check_held", "go_on_as"]


class Held:
    """A send that is held back; if it is dropped, nothing is sent.

    Its result then has `NotSent` for every member. The holder of the result must not
    hold this object.
    """

    def __init__(self, result: Any, send: Callable[[], Any], *, unsent: str) -> None:
        """Hold `send` back.

        Args:
            result: Its result, for the caller.
            send: Sends it, and lets `result` become the sent canvas's result.
            unsent: The reason why it was not sent, if this is dropped.
        """
        self.result = result
        self._send = send
        self._members = _members_of(result)
        self._dropped = weakref.finalize(self, _drop, self._members, unsent)
        # At the interpreter's end nobody is left to tell.
        self._dropped.atexit = False

    def refuse_waiting(self, refuse: Callable[[], None]) -> None:
        """Call `refuse` before a wait; it raises if the wait would never end."""
        for members in self._members:
            members.refuse_waiting = refuse

    def send(self) -> None:
        """Send it now.

        Raises:
            Exception: As `apply_async`; the result tells what was not sent.
        """
        if self._dropped.detach() is None:
            return
        before = [(members, members.barrier) for members in self._members]
        for members in self._members:
            members.refuse_waiting = None
        try:
            self._send()
        except BaseException as exc:
            # The dispatch has told the fates of the others.
            untried = [members for members, old in before if members.barrier is old]
            _drop(untried, f"{type(exc).__name__}: {exc}")
            raise


def _members_of(result: Any) -> list[Members]:
    """Return the members of a result and of its parents."""
    # The tasks of a line share their members.
    return list({id(r.members): r.members for r in _line(result)}.values())


def _drop(held: list[Members], why: str) -> None:
    for members in held:
        members.give_up(why)


class Frozen(NamedTuple):
    """A canvas that was frozen to be sent later."""

    #: Its result.
    result: Any
    #: The caller's canvas; a copy of it is sent.
    origin: Any


def go_on_as(held: Any, sent: Any) -> Any:
    """Let the held result of a chain or chord be the sent one's; returns it.

    Its parents become the sent ones by their ids: as in Celery, a sent canvas names
    fewer parents than a frozen one.
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
            members.settle([index], Barrier.NOT_SENT)
    return held


def _line(result: Any) -> Iterator[Any]:
    while result is not None:
        yield result
        result = result.parent


def _key(result: Any) -> Any:
    """Return the key of a result: a header's group is sent under another id."""
    if not isinstance(result, GroupResult):
        return result.id
    return len(result), result.roster.id(0) if len(result) else None


def check_held(app: App, canvas: Any, path: str, call: Call) -> None:
    """Check the options of all tasks in a canvas, and the arguments of the first.

    A generator is held. Freezing finds cycles, and parts that are no canvases.

    Raises:
        SettingError: An option that does not exist.
        ArgumentError: A task that is registered here does not take these arguments.
    """
    for part in walk(canvas, path, hold=True, links=True):
        check_part(part)
        if not part.begins or kind_of(part.canvas).is_composed:
            continue
        task = maybe_signature(part.canvas, app)
        if task.task in app.tasks:
            index = part.position if part.role == "member" else None
            check_call(app, task, call, part.path, index)
