"""The kinds of canvases: the name of each, and the keys in which it holds others.

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

#: The role of a canvas in another.
Role = Literal[
    "root", "member", "step", "header", "body", "called", "link", "errback", "after"
]

#: Options that hold canvases, and their roles.
FOLLOWING: dict[str, Role] = {
    "link": "link",
    "link_error": "errback",
    "chain": "after",
    "chord": "after",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of canvas."""

    #: Its `subtask_type`; None for a plain task.
    name: str | None
    #: Keyword arguments that hold a canvas or a list of them, and their roles.
    holds: dict[str, Role]
    #: Whether its parts are sent, and not a task of its own.
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
    """Let a class read the canvases of a kind."""
    _kinds[kind.name] = kind
    _classes[kind.name] = cls
    setattr(CLASSES, kind.name or "task", cls)


def kind_of(canvas: Any) -> Kind:
    """Return the kind of a canvas in any form, also a plain dict's and Celery's.

    Anything without a known kind is a task.
    """
    name = canvas.get("subtask_type") if isinstance(canvas, dict) else None
    # A broken message may have anything there.
    return _kinds.get(name, _TASK) if isinstance(name, str) else _TASK


def class_of(name: str | None) -> type[Any]:
    """Return the class of the canvases of this `subtask_type`."""
    return _classes.get(name) or _classes[None]


def classes() -> set[type[Any]]:
    """Return all classes of canvases."""
    return set(_classes.values())
