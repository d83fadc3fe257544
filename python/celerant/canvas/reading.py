"""Canvases as text of many lines, for people and for diffs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from celerant.canvas.kinds import kind_of
from celerant.canvas.showing import called

__all__ = ["text_of"]

#: Members and steps of one canvas that are shown.
_MOST = 200
_INDENT = "  "
#: Options that differ by run and say nothing of what is meant.
_IDS = frozenset(
    {
        "chord",
        "group_id",
        "group_index",
        "link",
        "link_error",
        "parent_id",
        "reply_to",
        "root_id",
        "task_id",
    }
)
_LINKS = ("link", "link_error", "chord")


def text_of(canvas: Any, most: int = _MOST) -> str:
    """Return a canvas as text: a line for each task, indented by what it stands in.

    Ids are left out, so that equal text means the same work. A generator is not read.

    Args:
        canvas: Any.
        most: Members and steps of one canvas that are shown.
    """
    return "\n".join(_lines(canvas, "", "", most))


def _lines(canvas: Any, indent: str, role: str, most: int) -> Iterator[str]:
    if not isinstance(canvas, Mapping):
        yield f"{indent}{role}{canvas!r}"
        return
    kind, kwargs = kind_of(canvas), canvas.get("kwargs") or {}
    inside = indent + _INDENT
    options = _options(canvas)
    if not kind.is_composed:
        args = tuple(canvas.get("args") or ())
        mark = " immutable" if canvas.get("immutable") else ""
        name = str(canvas.get("task"))
        yield f"{indent}{role}{called(name, args, kwargs)}{mark}{options}"
    else:
        yield f"{indent}{role}{kind.name}{options}"
        for key, held_role in kind.holds.items():
            held = kwargs.get(key)
            named = f"{held_role}: " if len(kind.holds) > 1 else ""
            if isinstance(held, (list, tuple)):
                yield from _listed(held, inside, named, most)
            elif held is not None:
                yield from _lines(held, inside, named, most)
    for name in _LINKS:
        linked = (canvas.get("options") or {}).get(name)
        for one in linked if isinstance(linked, (list, tuple)) else [linked]:
            if one is not None:
                yield from _lines(one, inside, f"{name}: ", most)


def _listed(held: Any, indent: str, role: str, most: int) -> Iterator[str]:
    for one in islice(held, most):
        yield from _lines(one, indent, role, most)
    if len(held) > most:
        yield f"{indent}{role}... {len(held) - most:,} more"


def _options(canvas: Mapping[str, Any]) -> str:
    options = canvas.get("options") or {}
    shown = [f"{k}={v!r}" for k, v in sorted(options.items()) if k not in _IDS]
    return f" [{', '.join(shown)}]" if shown else ""
