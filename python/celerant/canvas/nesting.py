"""Nested groups as a flat list, for copies and comparisons.

Groups may be nested deeper than Python recurses, and hold each other in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from celerant.canvas.source import Mapped, Stream
from celerant.errors import CanvasError

__all__ = ["Node", "is_group", "nodes_of", "path_to", "same_members"]

#: Steps of a path at either end; the middle of a longer one is left out.
_EDGE_STEPS = 8


@dataclass(slots=True)
class Node:
    """A group of a canvas, and the way to it."""

    group: dict[str, Any]
    members: Sequence[Any]
    #: The node that holds it (of several the first), and where; None for the root.
    parent: Node | None = None
    position: int = 0
    #: Numbers of the nodes among its members, by position.
    inner: dict[int, int] = field(default_factory=dict)


def is_group(value: Any) -> bool:
    """Whether `value` is a group: ours, Celery's or a plain dict."""
    return isinstance(value, dict) and value.get("subtask_type") == "group"


def nodes_of(root: dict[str, Any]) -> list[Node]:
    """Return all groups of a canvas, `root` first, each once also in a circle.

    Members that come from a generator are held from now on.
    Raises:
        CanvasError: A group without members' list, or a generator used twice.
    """
    nodes = [Node(root, _held(root, None, 0))]
    numbers = {id(root): 0}
    for node in nodes:  # grows
        for position, member in enumerate(node.members):
            if not is_group(member):
                continue
            number = numbers.setdefault(id(member), len(nodes))
            if number == len(nodes):
                held = _held(member, node, position)
                nodes.append(Node(member, held, node, position))
            node.inner[position] = number
    return nodes


def _held(holder: dict[str, Any], parent: Node | None, position: int) -> Sequence[Any]:
    kwargs = holder.get("kwargs")
    source = kwargs.get("tasks") if isinstance(kwargs, dict) else None
    if isinstance(source, (Stream, Mapped)):
        source = holder["kwargs"]["tasks"] = source.hold()
    if not isinstance(source, (list, tuple)):
        path = "group" if parent is None else path_to(parent, position)
        msg = f"{path}: this group has no list of tasks"
        raise CanvasError(msg, path=path)
    return source


def path_to(node: Node, position: int) -> str:
    """Return where a member stands, e.g. ``group[3][0]``."""
    steps = [position]
    while node.parent is not None:
        steps.append(node.position)
        node = node.parent
    steps.reverse()
    hidden = len(steps) - 2 * _EDGE_STEPS
    if hidden <= 0:
        return "group" + "".join(f"[{step}]" for step in steps)
    first = "".join(f"[{step}]" for step in steps[:_EDGE_STEPS])
    last = "".join(f"[{step}]" for step in steps[-_EDGE_STEPS:])
    return f"group{first} ... {hidden} levels ... {last}"


def same_members(left: Any, right: Any) -> bool:
    """Whether two groups' members are equal, in order; consumes no generator."""
    pairs = [(left, right)]
    seen: set[tuple[int, int]] = set()
    while pairs:
        left, right = pairs.pop()
        if left is right or (id(left), id(right)) in seen:
            continue
        if not isinstance(left, (list, tuple)) or not isinstance(right, (list, tuple)):
            return False
        seen.add((id(left), id(right)))
        if len(left) != len(right):
            return False
        for one, other in zip(left, right, strict=True):
            if is_group(one) and is_group(other):
                (tasks, rest), (others, more) = _apart(one), _apart(other)
                if rest != more:
                    return False
                pairs.append((tasks, others))
            elif is_group(one) or is_group(other) or one != other:
                return False
    return True


def _apart(group: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a group's members, and what else it says."""
    rest = {**group, "kwargs": dict(group.get("kwargs") or {})}
    return rest["kwargs"].pop("tasks", None), rest
