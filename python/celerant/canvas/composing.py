"""The canvas that `|` makes of two canvases, and `chain` of many.

A group before another canvas becomes the header of a chord. A canvas after a chord is
joined to its body. Chains do not nest.

Source: ``__or__`` of the classes in ``celery.canvas`` of celery 5.7.0, and its
``_fold_chain``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celerant.canvas.data import CanvasData, maybe_signature, stranger
from celerant.canvas.kinds import CLASSES
from celerant.canvas.source import Mapped, Stream
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.canvas.chain import Chain
    from celerant.canvas.group import group
    from celerant.context.host import App

__all__ = ["chained", "joined"]

_WHAT = "a step must be a signature, group, chain or chord"


def chained(
    tasks: tuple[Any, ...], options: Mapping[str, Any], app: App | None
) -> CanvasData:
    """Return what ``chain(*tasks)`` makes.

    Raises:
        CanvasError: A step that is no canvas, or one chord too many.
    """
    steps = _listed(tasks)
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            raise stranger(step, f"chain[{index}]", _WHAT)
    canvases = [maybe_signature(step, app) for step in steps]
    # As in Celery: one task alone stays a chain, and options are for the canvas as
    # written.
    is_lone = len(tasks) == 1 and isinstance(tasks[0], dict)
    if options or app is not None or is_lone or not canvases:
        return CLASSES.chain(canvases, options, app=app)
    try:
        return _folded(canvases)
    except RecursionError:
        raise _too_deep("chain") from None


def joined(left: CanvasData, right: Any) -> CanvasData:
    """Return ``left | right``.

    Raises:
        CanvasError: `right` is no canvas, or one chord too many.
    """
    if not isinstance(right, dict):
        raise stranger(right, f"{left.task} | ...", _WHAT)
    try:
        return _joined(left, right, is_own=False)
    except RecursionError:
        raise _too_deep(f"{left.task} | ...") from None


def _joined(left: CanvasData | None, right: Any, *, is_own: bool) -> CanvasData:
    """Return ``left | right``; with `is_own` it may change `left` itself."""
    if left is None:
        msg = (
            "what follows a chord goes to its body, and this one has no body yet: "
            "write chord(header, body)"
        )
        raise CanvasError(msg, path="chord.chord_body")
    app = left.own_app
    right = maybe_signature(right, app)
    if isinstance(left, CLASSES.group):
        return left if _is_empty(right) else CLASSES.chord(left, right, app=app)
    is_group = isinstance(right, CLASSES.group)
    right = _without_lone_group(right)
    if isinstance(left, CLASSES.chain):
        return _after_chain(left, right, is_own=is_own)
    if isinstance(left, CLASSES.chord) and (
        is_group or not isinstance(right, CLASSES.chain)
    ):
        if isinstance(right, CLASSES.group):
            return CLASSES.chain([left, right], {}, app=app)
        made = left if is_own else left.clone()
        made.body = _joined(made.body, right, is_own=True)
        return made
    # A chain that was alone in a group stays one step.
    is_spliced = isinstance(right, CLASSES.chain) and not is_group
    return CLASSES.chain(
        [left, *(right.unchained() if is_spliced else [right])], {}, app=app
    )


def _after_chain(  # noqa: PLR0911 - one rule each
    left: Chain[Any], right: CanvasData, *, is_own: bool
) -> CanvasData:
    if _is_empty(right):
        return left
    if isinstance(right, CLASSES.chain):
        return _all_joined(left, right.unchained(), is_own=is_own)
    last = left.tasks[-1] if left.tasks else None
    if isinstance(right, CLASSES.group):
        if last is None:
            return right
        made = _opened(left, is_own=is_own)
        if isinstance(last, CLASSES.chord):
            made.tasks[-1].body = _joined(made.tasks[-1].body, right, is_own=True)
        else:
            made.tasks.append(right)
        return made
    if isinstance(last, CLASSES.group):
        made = left if is_own else left.clone()
        made.tasks[-1] = CLASSES.chord(made.tasks[-1], right, app=left.own_app)
        if len(made.tasks) > 1 and isinstance(made.tasks[-2], CLASSES.chord):
            before = made.tasks[-2]
            before.body = _joined(before.body, made.tasks.pop(), is_own=True)
        return made
    if isinstance(last, CLASSES.chord) and not isinstance(right, CLASSES.chord):
        made = left if is_own else left.clone()
        made.tasks[-1].body = _joined(made.tasks[-1].body, right, is_own=True)
        return made
    made = _opened(left, is_own=is_own)
    made.tasks.append(right)
    return made


def _opened(chain: Chain[Any], *, is_own: bool) -> Chain[Any]:
    """Return a chain to which steps can be added: its callbacks are in its steps."""
    if is_own and not chain.options:
        # Without a look at each step: a long chain grows one step after the other.
        return chain
    return CLASSES.chain(chain.unchained(is_own=is_own), {}, app=chain.own_app)


def _all_joined(
    first: CanvasData, others: list[Any], *, is_own: bool = False
) -> CanvasData:
    """Return ``first | others[0] | ...``, with one copy of each but the last.

    Otherwise `first`, which grows, would be copied for each.
    """
    if len(others) < 2:  # noqa: PLR2004 - the one join copies, if it must
        return _joined(first, others[0], is_own=is_own) if others else first
    made = first if is_own else first.clone()
    for canvas in others[:-1]:
        made = _joined(made, maybe_signature(canvas).clone(), is_own=True)
    return _joined(made, others[-1], is_own=True)


def _folded(canvases: list[Any]) -> CanvasData:
    """Join canvases from the left, in one pass: each but the last is copied once."""
    if {*map(type, canvases)} == {CLASSES.task}:
        # By far the most chains: no step of theirs becomes another canvas.
        return CLASSES.chain(
            [*(step.clone() for step in canvases[:-1]), canvases[-1]], {}
        )
    steps: list[Any] = []
    for index, canvas in enumerate(canvases):
        made = _add(steps, canvas, is_last=index == len(canvases) - 1)
        if made is not None:
            return _all_joined(made, canvases[index + 1 :])
    return CLASSES.chain(steps, {})


def _add(  # noqa: PLR0911 - one rule each
    steps: list[Any], canvas: Any, *, is_last: bool
) -> CanvasData | None:
    """Add a canvas to the steps; return it if they become another kind of canvas."""
    if _is_empty(canvas):
        return None
    canvas = _without_lone_group(canvas)
    last = steps[-1] if steps else None
    if isinstance(canvas, CLASSES.chain):
        inner = canvas.unchained()
        for index, step in enumerate(inner):
            made = _add(steps, step, is_last=is_last and index == len(inner) - 1)
            if made is not None:
                return _all_joined(made, inner[index + 1 :])
        return None
    if isinstance(canvas, CLASSES.group) and last is None:
        return canvas
    own = canvas if is_last else canvas.clone()
    if isinstance(canvas, CLASSES.group):
        if isinstance(last, CLASSES.chord):
            last.body = _joined(last.body, own, is_own=True)
            return None
    elif isinstance(last, CLASSES.group):
        steps[-1] = CLASSES.chord(last, own)
        return None
    elif isinstance(last, CLASSES.chord) and not isinstance(canvas, CLASSES.chord):
        last.body = _joined(last.body, own, is_own=True)
        return None
    steps.append(own)
    return None


def _listed(tasks: tuple[Any, ...]) -> list[Any]:
    if len(tasks) == 1 and not isinstance(tasks[0], dict):
        (only,) = tasks
        if isinstance(only, (str, bytes)) or not isinstance(only, Iterable):
            raise stranger(only, "chain[0]", _WHAT)
        return list(only)
    return list(tasks)


def _is_empty(canvas: Any) -> bool:
    return isinstance(canvas, CLASSES.group) and not _ahead(canvas)


def _without_lone_group(canvas: Any) -> Any:
    """Return the member of a group of one, else the canvas."""
    if isinstance(canvas, CLASSES.group):
        members = _ahead(canvas)
        if len(members) == 1:
            return maybe_signature(_member(members[0]), canvas.own_app)
    return canvas


def _ahead(canvas: group[Any]) -> Any:
    """Return two of a group's members, or as many as it has; a generator keeps them."""
    tasks = canvas["kwargs"]["tasks"]
    return tasks.ahead(2) if isinstance(tasks, (Stream, Mapped)) else tasks[:2]


def _member(found: Any) -> Any:
    if not isinstance(found, dict):
        raise stranger(found, "group[0]", _WHAT)
    return found


def _too_deep(path: str) -> CanvasError:
    msg = (
        f"{path}: so many groups and chords follow one another that their bodies "
        "nest too deep; let a task send the rest of them"
    )
    return CanvasError(msg, path=path)
