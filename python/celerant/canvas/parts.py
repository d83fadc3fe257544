"""The parts of a canvas, and their parts, each with its role and its path.

There is one rule for circles and depth. A walk meets each canvas once, where it comes
first, and goes as deep as memory allows. Code that acts on a canvas wherever it stands
keeps `Inside`, which refuses a canvas that is inside itself or too deep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from celerant.canvas.kinds import FOLLOWING, Role, kind_of
from celerant.canvas.source import Mapped, Stream
from celerant.common.listed import listed
from celerant.errors import CanvasError

__all__ = [
    "Inside",
    "Part",
    "end_of",
    "following",
    "is_group",
    "parts",
    "walk",
    "with_following",
    "with_parts",
]

#: Canvases inside each other, as the core reads them.
_MAX_DEPTH = 256
#: Steps of a path at either end; the middle of a longer one is left out.
_EDGE_STEPS = 8
_NAMED = {"body": ".chord_body", "called": ".task"}


class Part(NamedTuple):
    """A canvas inside another, and where."""

    #: A canvas of ours, of Celery's or in plain dicts; by mistake it may be anything.
    canvas: Any
    role: Role
    #: The keyword argument or option that holds it; the root has its path here.
    key: str
    #: Its position in a list.
    position: int | None
    #: The part around it; None for the root.
    outer: Part | None

    @property
    def path(self) -> str:
        """Its path, e.g. ``group[3].chord_body``."""
        steps: list[str] = []
        part = self
        while part.outer is not None:
            steps.append(part._step())
            part = part.outer
        steps.reverse()
        hidden = len(steps) - 2 * _EDGE_STEPS
        if hidden > 0:
            steps[_EDGE_STEPS:-_EDGE_STEPS] = [f" ... {hidden} levels ... "]
        return (part.key + "".join(steps)).removeprefix(".")

    @property
    def begins(self) -> bool:
        """Whether it gets the arguments of a call, since it runs first."""
        part = self
        while part.outer is not None:
            is_first = part.role == "step" and part.position == 0
            if not (is_first or part.role in {"member", "header"}):
                return False
            part = part.outer
        return True

    def _step(self) -> str:
        if self.key in FOLLOWING:
            return f".{self.key}[{self.position}]"
        return (
            _NAMED.get(self.role, "") if self.position is None else f"[{self.position}]"
        )


# `Part(...)`, without a call of Python's for each of a group's members.
_part: Callable[[tuple[Any, ...]], Part] = partial(tuple.__new__, Part)


def is_group(value: Any) -> bool:
    """Whether it is a group: of ours, of Celery's or in plain dicts."""
    return isinstance(value, dict) and value.get("subtask_type") == "group"


def parts(
    outer: Part, takes: Callable[[Any], bool] | None = None, *, hold: bool = False
) -> list[Part]:
    """Return the parts of a canvas, in order: members, steps, header and body.

    Args:
        outer: The canvas.
        takes: Whether a canvas is looked for; None: all are.
        hold: Keep the members of generators for good; else they are passed over.
    """
    kwargs, kind = outer.canvas.get("kwargs"), kind_of(outer.canvas)
    found: list[Part] = []
    if not kind.is_composed or not isinstance(kwargs, Mapping):
        return found
    for key, role in kind.holds.items():
        held = kwargs.get(key)
        if hold and isinstance(held, (Stream, Mapped)):
            held = outer.canvas["kwargs"][key] = held.hold()
        if isinstance(held, (list, tuple)):
            found += [
                _part((value, role, key, position, outer))
                for position, value in enumerate(held)
                if isinstance(value, dict) and (takes is None or takes(value))
            ]
        elif isinstance(held, dict) and (takes is None or takes(held)):
            found.append(Part(held, role, key, None, outer))
    return found


def following(outer: Part) -> list[Part]:
    """Return the callbacks and errbacks in a canvas's options."""
    options = outer.canvas.get("options")
    if not options or not isinstance(options, Mapping):
        return []
    return [
        Part(value, FOLLOWING[key], key, position, outer)
        for key in ("link", "link_error")
        if options.get(key)
        for position, value in enumerate(listed(options[key]))
        if isinstance(value, dict)
    ]


def walk(
    root: Any,
    path: str = "",
    takes: Callable[[Any], bool] | None = None,
    *,
    hold: bool = False,
    links: bool = False,
) -> Iterator[Part]:
    """Yield a canvas and all that it holds, outer before inner, each once.

    Args:
        root: The canvas.
        path: The canvas's, with which its parts' paths begin.
        takes: Whether a part is looked for, and looked into; None: all are.
        hold: Keep the members of generators for good; else they are passed over.
        links: Go to callbacks and errbacks too.
    """
    pending = [Part(root, "root", path, None, None)]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        canvas = part.canvas
        if id(canvas) in seen:
            continue
        seen.add(id(canvas))
        yield part
        # Most are tasks without callbacks.
        if links and canvas.get("options"):
            pending += reversed(following(part))
        if canvas.get("subtask_type"):
            pending += reversed(parts(part, takes, hold=hold))


def end_of(canvas: Any) -> dict[str, Any] | None:
    """Return the last task of a canvas; None if it is several tasks or unknown."""
    while (kind := kind_of(canvas)).is_composed:
        # The body of a chord, the last step of a chain.
        *_, (key, role) = kind.holds.items()
        held = (canvas.get("kwargs") or {}).get(key)
        if isinstance(held, (list, tuple)):
            if not held or (role == "member" and len(held) > 1):
                return None
            held = held[-1]
        canvas = held
    return canvas if isinstance(canvas, dict) else None


def with_parts(canvas: Mapping[str, Any], swap: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a copy in which `swap` replaces each part; generators are held."""
    holds = kind_of(canvas).holds
    if not holds:
        # A task's keywords are the caller's, if it has any.
        return dict(canvas)
    return {**canvas, "kwargs": _swapped(canvas.get("kwargs"), holds, swap)}


def with_following(
    canvas: Mapping[str, Any], swap: Callable[[Any], Any]
) -> dict[str, Any]:
    """Return a copy in which `swap` replaces each canvas of its options."""
    return {**canvas, "options": _swapped(canvas.get("options"), FOLLOWING, swap)}


def _swapped(held: Any, holds: Mapping[str, Role], swap: Callable[[Any], Any]) -> Any:
    if not held or holds.keys().isdisjoint(held):
        return held
    found: dict[str, Any] = {}
    for key in holds:
        value = held.get(key)
        if isinstance(value, (Stream, Mapped)):
            value = value.hold()
        if isinstance(value, (list, tuple)):
            found[key] = [swap(one) for one in value]
        elif value is not None:
            found[key] = swap(value)
    return {**held, **found}


class Inside:
    """The canvases that a walk is in, from the outermost."""

    def __init__(self) -> None:
        self._ids: list[int] = []

    def enter(self, part: Part) -> None:
        """Go into a canvas; `leave` it again.

        Raises:
            CanvasError: It is inside itself, or too deep.
        """
        canvas, what = part.canvas, None
        if id(canvas) in self._ids:
            kind = kind_of(canvas).name or "task"
            what = f"closes a cycle: this {kind} contains itself"
        elif len(self._ids) == _MAX_DEPTH:
            what = f"is one of more than {_MAX_DEPTH} canvases inside each other"
        if what is not None:
            path = part.path
            msg = f"{path} {what}"
            raise CanvasError(msg, path=path)
        self._ids.append(id(canvas))

    def leave(self) -> None:
        """Leave the canvas that was entered last."""
        self._ids.pop()
