"""Chains and chords on their way out: what leaves now, and the result it will have."""

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

#: Options of a header's task that are its own and not those of the call.
_OWN = ("add_to_parent", "group_index", "reply_to", "task_id")


@dataclass(slots=True)
class HeaderCall:
    """How the tasks of a chord's header are sent."""

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
    """Return what leaves now for a chain or chord.

    Args:
        app: Whose settings hold.
        canvas: In any form that is read.
        roster: Of one member: the canvas, which gets that id unless it has one.
        args: For what runs first.
        kwargs: For what runs first.
        options: Over the canvas's own.
        reply_to: Where results go.
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
    """Return how a chord's header is sent, whatever its length.

    One task stands in for all: what it is sent with, all are.
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
        # Else each task of the header has its own, or that of this process.
        of_call["reply_to"] = asked
    group_id = of_call.pop("group_id")
    # A header is frozen, and a frozen group says so of what it does not know.
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
    """Return the members of a chord's header; None where there is none."""
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
        source: The header's members; itself it stays what it is.
    """
    # Plain signatures hold nothing, and of most headers all members are.
    if not isinstance(source, (list, tuple)) or {*map(type, source)} <= {Signature}:
        return
    for member in source:
        if isinstance(member, CanvasData):
            for _ in walk(member, hold=True):
                pass


def end_is_ignored(app: App, canvas: Any) -> bool:
    """Return whether nothing is stored of what a chain or chord results in."""
    end = end_of(canvas)
    if end is None:
        # What a group leaves behind is told by each of its members.
        return False
    return is_ignored(app, end, end.get("options") or {})


def results_in(source: Any) -> int | None:
    """Return for how many results a header's chord waits; None: known at its end."""
    if not isinstance(source, (list, tuple)):
        return None
    return count_results(source, readable())
