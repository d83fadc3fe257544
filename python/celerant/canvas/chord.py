"""A group, and the canvas that gets its results."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from celerant.canvas.base import Canvas, check_callback
from celerant.canvas.chain import Chain
from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.canvas.group_members import signed
from celerant.canvas.kinds import Kind
from celerant.canvas.single import Single
from celerant.canvas.source import Mapped, Stream
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from celerant.canvas.options import SendOptions
    from celerant.canvas.signature import Signature
    from celerant.context.host import App
    from celerant.results.async_result import AsyncResult

__all__ = ["chord", "drop_waiting"]

R = TypeVar("R")
_C = TypeVar("_C", bound=Canvas[Any])
_S = TypeVar("_S")


class chord(  # noqa: N801 - Celery's name
    Single[R], kind=Kind("chord", {"header": "header", "body": "body"})
):
    """A group, and a body that is called with the list of its results.

    ``chord(header)(body)`` sends it, ``chord(header, body)`` makes it, and so does
    ``group(...) | body``.

    Args:
        header: A group, or its members as an iterable; a group's own options are
            lost, as in Celery.
        body: The canvas that gets the list of results, in member order.
        options: For every task of the header and for the body.
    Raises:
        CanvasError: A header or body that is no canvas.
    """

    __slots__ = ()

    @overload
    def __init__(
        self,
        header: Any,
        body: Single[R],
        *,
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: chord[Any],
        header: Any,
        body: Any = None,
        *,
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None: ...
    def __init__(
        self,
        header: Any,
        body: Any = None,
        *,
        app: App | None = None,
        **options: Unpack[SendOptions],
    ) -> None:
        if body is not None and not isinstance(body, dict):
            msg = (
                f"chord: the body must be a signature, group, chain or chord, not "
                f"{type(body).__name__}; use task.s(...)"
            )
            raise CanvasError(msg, path="chord.chord_body")
        kwargs = {
            "kwargs": {},
            "header": _header(header, app),
            "body": maybe_signature(body, app),
        }
        super().__init__(
            "celery.chord", (), kwargs, drop_waiting(options), "chord", app=app
        )

    def _first(self) -> Any:
        header = self["kwargs"]["header"]
        first = header.peek() if isinstance(header, Stream) else None
        if isinstance(header, (list, tuple)):
            first = header[0] if header else None
        return first if isinstance(first, Canvas) else self.body

    @property
    def tasks(self) -> list[Any]:
        """The header: a list; a generator's is held from now on."""
        header = self["kwargs"]["header"]
        if isinstance(header, (Stream, Mapped)):
            header = self["kwargs"]["header"] = header.hold()
        tasks = header["kwargs"]["tasks"] if isinstance(header, dict) else header
        return cast("list[Any]", tasks)

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self["kwargs"]["header"] = _header(tasks, self._app)

    @property
    def body(self) -> Any:
        """The canvas that gets the results; None if it is not given yet."""
        return self["kwargs"]["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self["kwargs"]["body"] = maybe_signature(body, self._app)

    def __len__(self) -> int:
        return len(self.tasks)

    def clone(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> chord[R]:
        """Return a copy of header and body; the header's tasks get the arguments."""
        tasks = [maybe_signature(task, self._app) for task in self.tasks]
        own = self.args
        if self.immutable:
            args, kwargs = (), None
        elif own:
            # They come before those of its tasks.
            args, own = (), (*args, *own)
        header = [task.clone(args, kwargs) for task in tasks]
        made = self._like(header, None if self.body is None else self.body.clone())
        made["args"] = own
        made["options"] = copy.deepcopy(self.merged_options(options))
        return made

    def _like(self, header: Any, body: Any) -> chord[Any]:
        """Return a chord of these with its own arguments and options."""
        made: chord[Any] = chord(header, body, app=self._app)
        made["kwargs"]["kwargs"] = dict(self["kwargs"].get("kwargs") or {})
        made["args"], made["immutable"] = self["args"], self["immutable"]
        made["options"] = self.options
        return made

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - Celery's name and form
        """Say of every task of the header whether it ignores a call's arguments."""
        for task in self._signed():
            task.set_immutable(immutable)

    def _signed(self) -> list[Any]:
        """Return the header's tasks as canvases, which the chord has from now on."""
        tasks = signed(self.tasks, self._app)
        if tasks is not self.tasks:
            header = self["kwargs"]["header"]
            holder, key = (
                (header["kwargs"], "tasks")
                if isinstance(header, dict)
                else (self["kwargs"], "header")
            )
            holder[key] = tasks
        return cast("list[Any]", tasks)

    def link(self, callback: _C) -> _C:
        """Send `callback` with the body's result; returns it."""
        self.bodied().link(callback)
        return callback

    def link_error(self, errback: _C) -> _C:
        """Call `errback` if the header or the body fails; returns it.

        With ``task_allow_error_cb_on_chord_header`` it is also called for each failed
        task of the header.
        """
        check_callback(self, "link_error", errback)
        errback = maybe_signature(errback, self._app)
        allowed = self.app.conf.task_allow_error_cb_on_chord_header
        for task in self._signed():
            if allowed:
                task.link_error(errback.clone())
            if isinstance(task, chord):
                task.link_error(errback)
        self.bodied().link_error(errback)
        return errback

    def bodied(self) -> Any:
        """Return the body.

        Raises:
            CanvasError: It has none yet.
        """
        if self.body is None:
            msg = "this chord has no body yet: write chord(header, body)"
            raise CanvasError(msg, path="chord.chord_body")
        return self.body

    @overload
    def __call__(
        self, body: Single[_S], **options: Unpack[SendOptions]
    ) -> AsyncResult[_S]: ...
    @overload
    def __call__(self, body: Any = None, **options: Unpack[SendOptions]) -> Any: ...
    def __call__(self, body: Any = None, **options: Unpack[SendOptions]) -> Any:
        """Send it with `body`; keywords are options here, as in Celery."""
        if body is None:
            return self.apply_async(**options)
        made = self._like(self["kwargs"]["header"], body)
        return made.apply_async(**options)

    def resume(
        self, result: AsyncResult[R], unknown: Literal["send", "skip"] = "send"
    ) -> AsyncResult[R]:
        """Send the rest of the header after an interruption, under the same ids.

        Then the body runs after the whole header. Does nothing if there is no rest.

        Args:
            result: ``PublishError.result``; its `parent` is the header's result.
            unknown: ``"send"`` sends tasks again whose fate is unknown (they may run
                twice, and count once), ``"skip"`` counts them as sent.
        Returns:
            `result`, which now waits for the body.
        Raises:
            CanvasError: The result belongs to no chord that was interrupted, or the
                header came from a generator.
            PublishError: Again.
        """
        resumed: AsyncResult[R] = self.app.sender.resume(self, result, unknown)
        return resumed

    @classmethod
    def _rebuilt(cls, plain: Mapping[str, Any], app: App | None) -> Any:
        kwargs = plain["kwargs"]
        made: chord[Any] = chord([], maybe_signature(kwargs.get("body"), app), app=app)
        header = kwargs["header"]
        # A frozen one keeps its id.
        made["kwargs"]["header"] = (
            maybe_signature(header, app)
            if isinstance(header, Mapping)
            else [maybe_signature(task, app) for task in header]
        )
        made["kwargs"]["kwargs"] = dict(kwargs.get("kwargs") or {})
        made["args"] = tuple(plain.get("args") or ())
        made["options"] = dict(plain.get("options") or {})
        made["immutable"] = bool(plain.get("immutable"))
        return made

    if TYPE_CHECKING:

        @overload  # type: ignore[override]  # no dict's
        def __or__(self, other: Signature[_S]) -> chord[_S]: ...
        @overload
        def __or__(self, other: Single[_S]) -> Chain[_S] | chord[_S]: ...
        @overload
        def __or__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        # Beside it, because mypy first asks the right side's class.
        def __ror__(self, other: Any) -> Any: ...


def drop_waiting(options: Any) -> Any:
    """Take out the options by which Celery waits for a header; return the others.

    Nothing polls here: the store counts the parts.
    """
    for name in ("interval", "max_retries"):
        options.pop(name, None)
    return options


def _header(header: Any, app: App | None) -> Any:
    """Return the tasks of a header as the chord keeps them."""
    if isinstance(header, Mapping):
        header = maybe_signature(header, app)
    if isinstance(header, group):
        tasks = header["kwargs"]["tasks"]
        is_list = isinstance(tasks, (list, tuple))
        return list(signed(tasks, app or header.own_app)) if is_list else tasks
    if isinstance(header, Chain):
        # Celery's reading: the steps at the same time.
        return list(signed(header.tasks, app or header.own_app))
    if isinstance(header, Canvas):
        return [header]
    if isinstance(header, (Stream, Mapped)):
        return header
    # A group checks its members, and words the errors.
    tasks = cast("Any", group(header, app=app))["kwargs"]["tasks"]
    if isinstance(tasks, (list, tuple)):
        tasks = signed(tasks, app)
    return list(tasks) if isinstance(tasks, tuple) else tasks
