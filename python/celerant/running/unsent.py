"""The steps and bodies of a canvas that is not sent any more.

Frozen steps of a chain and bodies of chords have their ids, and may be waited for:
if an earlier task fails, they fail too.
Source: ``Backend._fail_chain`` and ``_handle_group_chord_error`` of celery 5.7.0,
which leaves the members of groups waiting; here they fail as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celerant.canvas.parts import Part, parts
from celerant.common.listed import listed
from celerant.context.request import Request

__all__ = ["branches", "followers"]


def followers(steps: Iterable[Any] | None) -> Iterator[Request]:
    """Return a request for every part of a chain's steps that should have a result.

    They come in order: groups before their members, chords before their bodies. A
    request has no id if its step was not frozen.
    """
    waiting = [step for step in steps or () if isinstance(step, Mapping)]
    waiting.reverse()
    while waiting:
        step = waiting.pop()
        yield _request(step)
        waiting += reversed(_inner(step))


def branches(canvas: Mapping[str, Any], errbacks: Iterable[Any] = ()) -> list[Request]:
    """Return a request for each task that a canvas would have begun with.

    Each has its `errbacks`, and as its `chain` the steps after it. For a chord it is
    the body's request.

    Args:
        canvas: As a message carries it.
        errbacks: Those of the canvas around it.
    """
    kind, options = canvas.get("subtask_type"), _mapping(canvas.get("options"))
    own = listed(options.get("link_error"))
    linked = [*own, *(errback for errback in errbacks if errback not in own)]
    inner = _inner(canvas)
    if kind == "chain" and inner:
        first, *rest = inner
        found = branches(first, linked)
        if found:
            found[0].chain = [*(found[0].chain or ()), *map(dict, rest)]
    elif kind in ("group", "chord") and inner:
        found = [made for one in inner for made in branches(one, linked)]
    else:
        made = _request(canvas)
        made.errbacks = linked
        return [made]
    if found and options.get("chain"):
        found[0].chain = [*(found[0].chain or ()), *listed(options["chain"])]
    return found


def _inner(canvas: Any) -> list[Any]:
    """Return the steps, members and body that have results of their own."""
    root = Part(canvas, "root", "", None, None)
    return [part.canvas for part in parts(root) if part.role != "header"]


def _request(canvas: Mapping[str, Any]) -> Request:
    options = _mapping(canvas.get("options"))
    args, chord = canvas.get("args"), options.get("chord")
    return Request(
        id=_text(options.get("task_id")) or "",
        task=str(canvas.get("task")),
        args=args if isinstance(args, (list, tuple)) else (),
        kwargs=dict(_mapping(canvas.get("kwargs"))),
        root_id=_text(options.get("root_id")),
        parent_id=_text(options.get("parent_id")),
        group=_text(options.get("group_id")),
        group_index=options.get("group_index"),
        chord=chord if isinstance(chord, dict) else None,
        chain=listed(options.get("chain")) or None,
        errbacks=listed(options.get("link_error")),
        reply_to=_text(options.get("reply_to")),
        stamped_headers=options.get("stamped_headers"),
    )


# A message may carry any value.
def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
