"""Chains and chords on their way out: the messages that leave now, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant._core import Lowered, Roster, count_results, lower
from celerant.canvas.data import CanvasData
from celerant.canvas.freezing import is_ignored
from celerant.canvas.parts import end_of, walk
from celerant.canvas.readable import readable
from celerant.canvas.signature import Signature
from celerant.canvas.source import Mapped, Stream

if TYPE_CHECKING:
    from celerant.canvas.chord import chord
    from celerant.context.host import App

__all__ = [
    "HeaderCall",
    "end_is_ignored",
    "header_of",
    "hold_nested",
    "lowered",
    "lowered_chord",
    "results_in",
]

#: Options of a header's task that are its own and not the call's.
_OWN = ("add_to_parent", "group_index", "reply_to", "task_id")


@dataclass(slots=True)
class HeaderCall:
    """The options that all tasks of a chord's header are sent with."""

    group_id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    #: The body is in `chord`.
    options: dict[str, Any]
    #: The body's result, as `results.tree.from_line` takes it.
    line: list[tuple[str, Any]]


def lowered(  # noqa: PLR0913, PLR0917 - a call and its canvas
    app: App,
    canvas: Any,
    roster: Roster,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    reply_to: Callable[[bool], str],
) -> Lowered:
    """Return the messages that leave now for a chain or chord.

    Args:
        app: The app, whose settings hold.
        canvas: Of any class that is read.
        roster: One member's: the canvas gets that id unless it has one.
        args: For the first task or tasks.
        kwargs: For the first task or tasks.
        options: Over the canvas's own.
        reply_to: The reply queue for results.
    Raises:
        CanvasError: A cycle, too deep, or something that is no canvas.
    """
    return lower(
        canvas,
        roster,
        args=args,
        kwargs=dict(kwargs),
        options=dict(options),
        reply_to=reply_to(True),  # noqa: FBT003 - called by position alone
        readable=readable(),
        links_errors_to_headers=bool(app.conf.task_allow_error_cb_on_chord_header),
    )


def lowered_chord(  # noqa: PLR0913, PLR0917 - a call and its canvas
    app: App,
    canvas: chord[Any],
    roster: Roster,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    reply_to: Callable[[bool], str],
) -> HeaderCall:
    """Return the options of a chord's header, whatever its length.

    They are read from one task: all tasks are sent with the same.
    """
    header: Any = [Signature("celerant.header")]
    frozen = canvas["kwargs"]["header"]
    if isinstance(frozen, dict):
        header = {**frozen, "kwargs": {"tasks": header}}
    short = {**canvas, "kwargs": {**canvas["kwargs"], "header": header}}
    done = lowered(app, short, roster, args, kwargs, options, reply_to)
    (message,) = done.signatures()
    of_call = {k: v for k, v in message["options"].items() if k not in _OWN}
    asked = {**canvas.options, **options}.get("reply_to")
    if asked:
        # Otherwise each task of the header has its own, or this process's.
        of_call["reply_to"] = asked
    group_id = of_call.pop("group_id")
    # A header is frozen, and a frozen group sets lineage that it does not know to None.
    for lineage in ("root_id", "parent_id"):
        of_call.setdefault(lineage, None)
    line = done.line
    assert line is not None  # noqa: S101 - a chord has a body
    return HeaderCall(
        group_id,
        tuple(message["args"]),
        dict(message["kwargs"]),
        of_call,
        line[-1:],
    )


def header_of(canvas: chord[Any]) -> Any:
    """Return the members of a chord's header; None if it has no header."""
    header = canvas["kwargs"]["header"]
    source = header["kwargs"]["tasks"] if isinstance(header, dict) else header
    if isinstance(source, Stream):
        return source if source.peek() is not None else None
    if isinstance(source, Mapped):
        return source
    return source or None


def hold_nested(source: Any) -> None:
    """Keep the members of generators inside a header, which is gone through twice.

    Args:
        source: The header's members; it stays as it is itself.
    """
    # Plain signatures have no parts, and most headers have only these.
    if not isinstance(source, (list, tuple)) or {*map(type, source)} <= {Signature}:
        return
    for member in source:
        if isinstance(member, CanvasData):
            for _ in walk(member, hold=True):
                pass


def end_is_ignored(app: App, canvas: Any) -> bool:
    """Return whether the result of a chain or chord is not stored."""
    end = end_of(canvas)
    if end is None:
        # Each member of a group tells this for itself.
        return False
    return is_ignored(app, end, end.get("options") or {})


def results_in(source: Any) -> int | None:
    """Return how many results a header's chord waits for; None: known at its end."""
    if not isinstance(source, (list, tuple)):
        return None
    return count_results(source, readable())
