"""The kinds of canvases: what each is called, and in what it holds others.

A class registers itself as it is defined: ``class group(Canvas[R], kind=Kind(...))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from celerant.canvas.chain import Chain
    from celerant.canvas.chord import chord
    from celerant.canvas.group import group
    from celerant.canvas.signature import Signature

__all__ = [
    "CLASSES",
    "FOLLOWING",
    "Kind",
    "Role",
    "class_of",
    "classes",
    "kind_of",
    "register",
]

#: As what a canvas stands in another.
Role = Literal[
    "root", "member", "step", "header", "body", "called", "link", "errback", "after"
]

#: Options that hold canvases, and as what.
FOLLOWING: dict[str, Role] = {
    "link": "link",
    "link_error": "errback",
    "chain": "after",
    "chord": "after",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of canvas."""

    #: Its `subtask_type`; None of a plain task.
    name: str | None
    #: Keyword arguments that hold canvases, one or a list of them, and as what.
    holds: dict[str, Role]
    #: Whether it is sent as what it consists of, and is no task itself.
    is_composed: bool = True


class _Classes:
    """The classes that canvases make of each other, for modules below these."""

    if TYPE_CHECKING:
        task: type[Signature[Any]]
        group: type[group[Any]]
        chain: type[Chain[Any]]
        chord: type[chord[Any]]


CLASSES = _Classes()

_TASK = Kind(None, {}, is_composed=False)
_kinds: dict[Any, Kind] = {}
_classes: dict[Any, type[Any]] = {}


def register(kind: Kind, cls: type[Any]) -> None:
    """Have canvases of a kind read by a class."""
    _kinds[kind.name] = kind
    _classes[kind.name] = cls
    setattr(CLASSES, kind.name or "task", cls)


def kind_of(canvas: Any) -> Kind:
    """Return the kind of a canvas in any form, also a plain dict's and Celery's.

    What no kind is known of is a task.
    """
    name = canvas.get("subtask_type") if isinstance(canvas, dict) else None
    # In a broken message it may be anything.
    return _kinds.get(name, _TASK) if isinstance(name, str) else _TASK


def class_of(name: str | None) -> type[Any]:
    """Return the class of the canvases of this `subtask_type`."""
    return _classes.get(name) or _classes[None]


def classes() -> set[type[Any]]:
    """Return all classes of canvases."""
    return set(_classes.values())
