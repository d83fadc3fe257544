"""The one door for canvases: it sends, runs, freezes, holds and resumes each kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord
from celerant.canvas.group import group
from celerant.canvas.signature import Signature
from celerant.sending.canvases import Canvases
from celerant.sending.groups import Groups
from celerant.sending.holding import Frozen, Held, check_held
from celerant.sending.indexing import Index
from celerant.sending.outgoing import Outgoing
from celerant.sending.own_sending import apply_async_of, first_noted
from celerant.sending.tasks import Tasks
from celerant.tasks.noting import are_any

if TYPE_CHECKING:
    from celerant.context.call import Call
    from celerant.context.host import App
    from celerant.results.async_result import AsyncResult

__all__ = ["Sender"]


class Sender:
    """The door that canvases call: a `celerant.context.host.Door`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.outgoing = outgoing = Outgoing(app)
        index = Index(app)
        canvases = Canvases(app, outgoing, index)
        self._groups = Groups(app, outgoing, index)
        self._tasks = Tasks(app, outgoing)
        #: By class; a subclass is added when it is first sent.
        self._doors: dict[type, Any] = {
            Signature: self._tasks,
            group: self._groups,
            Chain: canvases,
            chord: canvases,
        }

    def close(self) -> None:
        """Feed no group any more, and close the connections."""
        self._groups.close()
        self.outgoing.close()

    def send(self, canvas: Any, call: Call) -> Any:
        """Send a canvas; see `Canvas.apply_async`."""
        if are_any():
            own = apply_async_of(self._app, canvas)
            if own is not None:
                args, kwargs = canvas.merged(call.args, call.kwargs)
                return own(args, kwargs, **canvas.merged_options(call.options))
            if isinstance(canvas, Chain):
                canvas, call = self._noted(canvas, call)
        try:
            door = self._doors[type(canvas)]
        except KeyError:
            door = self._door(canvas)
        return door.send(canvas, call)

    def send_one(self, canvas: Any, call: Call) -> AsyncResult[Any]:
        """Send one task; see `Task.apply_async`."""
        return self._tasks.send(canvas, call)

    def _noted(self, canvas: Any, call: Call) -> tuple[Any, Call]:
        """Have tasks with their own `apply_async` called that leave first."""
        if self._app.conf.task_always_eager or isinstance(canvas, (group, chord)):
            # The members of groups and headers are noted as they are read.
            return canvas, call
        return first_noted(self._app, canvas, call)

    def run(self, canvas: Any, call: Call) -> Any:
        """Run a canvas in place; see `Canvas.apply`."""
        return self._door(canvas).run(self._app, canvas, call)

    def freeze(self, canvas: Any, options: dict[str, Any]) -> Any:
        """Give a canvas and all in it their ids, and send nothing.

        Return its result.
        """
        return self._door(canvas).freeze(canvas, options)

    def hold(self, canvas: Any, call: Call, *, unsent: str) -> Held:
        """Freeze a copy of a canvas and check it, so that it can be sent as it is now.

        Args:
            canvas: The canvas.
            call: Arguments and options of `apply_async`.
            unsent: The reason to give if it is never sent.
        Raises:
            SettingError: An option that does not exist.
            TypeError: A task that is registered here does not take these arguments.
            CanvasError: A cycle, too deep, or something that is no member.
        """
        door, options = self._door(canvas), call.options
        path = door.check(canvas, options)
        check_held(self._app, canvas, path, call)
        # A copy, because the caller's own canvas gets new ids if it is sent again.
        frozen = canvas.clone()
        named = {k: options.pop(k) for k in ("task_id",) if options.get(k)}
        if named:
            frozen.options.pop("task_id", None)
        result = door.freeze(frozen, named)
        send = partial(self._send_held, door, frozen, call, Frozen(result, canvas))
        return Held(result, send, unsent=unsent)

    def _send_held(self, door: Any, frozen: Any, call: Call, held: Frozen) -> Any:
        if are_any():
            frozen, call = self._noted(frozen, call)
        return door.send(frozen, call, held)

    def resume(self, canvas: Any, result: Any, unknown: Literal["send", "skip"]) -> Any:
        """Send the rest of an interrupted send of a canvas; return `result`."""
        if unknown not in {"send", "skip"}:
            msg = f"unknown must be 'send' or 'skip', not {unknown!r}"
            raise ValueError(msg)
        return self._door(canvas).resume(canvas, result, unknown)

    def retry(self, result: Any, which: Any, source: Any) -> None:
        """Send members of a group once more; see `GroupResult.retry`."""
        self._groups.retry(result, which, source)

    def _door(self, canvas: Any) -> Any:
        cls = type(canvas)
        door = self._doors.get(cls)
        if door is None:
            known = next(base for base in cls.__mro__ if base in self._doors)
            door = self._doors[cls] = self._doors[known]
        return door
