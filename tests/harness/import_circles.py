"""Find circles of imports: files at run time, lazy imports counted; rooms with types.

``python tests/harness/import_circles.py`` prints each circle and ends with 1 if there
is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PYTHON = Path(__file__).parents[2] / "python"


def modules() -> dict[str, Path]:
    """Return the package's files by their modules' names."""
    found = {}
    for path in sorted((PYTHON / "celerant").rglob("*.py")):
        parts = path.relative_to(PYTHON).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: Mapping[str, Path], *, types: bool) -> set[str]:
    """Return which known modules a file imports anywhere in it."""
    found = set()
    for node in _nodes(ast.parse(path.read_text()), types=types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
    return found & known.keys()


def _nodes(tree: ast.AST, *, types: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if (
            not types
            and isinstance(child, ast.If)
            and "TYPE_CHECKING" in ast.unparse(child.test)
        ):
            continue
        yield child
        yield from _nodes(child, types=types)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of a graph, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []


def room(module: str) -> str:
    """Return the room that a module is in; a file on top is one of its own."""
    return module.split(".")[1]


def main() -> int:
    """Print the circles; return the exit code."""
    known = modules()
    at_run_time = {
        name: imports(path, known, types=False) - {name, "celerant"}
        for name, path in known.items()
    }
    of_rooms: dict[str, set[str]] = {}
    for name, path in known.items():
        if name == "celerant":
            continue
        others = imports(path, known, types=True) - {"celerant"}
        rooms = {room(other) for other in others} - {room(name)}
        of_rooms.setdefault(room(name), set()).update(rooms)
    found = {
        "files at run time": circle(at_run_time),
        "rooms, types counted": circle(of_rooms),
    }
    for what, names in found.items():
        if names:
            sys.stdout.write(f"a circle of {what}: {' -> '.join(names)}\n")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
