"""Names that only type checkers import: looked up in the source of their module."""

from __future__ import annotations

import ast
import linecache
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["imported_name"]


def imported_name(name: str, space: Mapping[str, Any]) -> str:
    """Return a dotted name with the module that its first part is imported from.

    Args:
        name: As an annotation has it.
        space: The names of the annotation's module.
    Returns:
        ``celerant.GroupResult``, for example; `name` itself if no import tells, or
        several do.
    """
    first, dot, rest = name.partition(".")
    found = _imports(space).get(first, set())
    return f"{found.pop()}{dot}{rest}" if len(found) == 1 else name


def _imports(space: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return what each name is imported as, anywhere in the module's source."""
    found: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(_tree(space)):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                found[alias.asname or alias.name].add(f"{module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                found[alias.asname or first].add(alias.name if alias.asname else first)
    return found


def _tree(space: Mapping[str, Any]) -> ast.AST:
    # The names have the loader too, which may have the source elsewhere.
    lines = linecache.getlines(str(space.get("__file__", "")), dict(space))
    try:
        return ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return ast.Module([], [])
