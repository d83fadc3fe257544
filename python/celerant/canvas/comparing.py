"""Whether groups are equal, even if they are nested deeper than Python recurses."""

from __future__ import annotations

from typing import Any

from celerant.canvas.parts import is_group

__all__ = ["same_members"]


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
    """Return a group's members, and its other keys."""
    rest = {**group, "kwargs": dict(group.get("kwargs") or {})}
    return rest["kwargs"].pop("tasks", None), rest
