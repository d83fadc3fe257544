"""Trees of results as text that draws them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

from celerant.common.printable import line
from celerant.errors import IncompleteStream
from celerant.results.tree import incomplete
from celerant.states import READY_STATES

if TYPE_CHECKING:
    from celerant.results.base import Result

__all__ = ["ResultGraph"]

#: How many characters of an id are shown.
_SHOWN = 8
_COLOURS = {"SUCCESS": "palegreen", "FAILURE": "salmon", "REVOKED": "lightgrey"}


class ResultGraph:
    """A tree of results, from the first task to all that were sent since.

    Args:
        result: Any result of the tree.
        intermediate: Whether tasks may be unfinished.

    Raises:
        IncompleteStream: A task is not done, and `intermediate` is False.
    """

    def __init__(self, result: Result, *, intermediate: bool = False) -> None:
        #: Lines of text and state, by id, in the order in which they were found.
        self.nodes: dict[str, tuple[list[str], str]] = {}
        #: Pairs of a result's id and the next one's.
        self.edges: dict[tuple[str, str], None] = {}
        pending: deque[Any] = deque(self._lined(None, result))
        while pending:
            node = pending.popleft()
            if node.id in self.nodes:
                continue
            for following in self._visit(node, intermediate=intermediate):
                pending.extend(self._lined(node, following))

    def _lined(self, node: Any, result: Any) -> list[Any]:
        """Join a result and its parents to `node`; return them all."""
        steps = []
        while result is not None and (node is None or result.id != node.id):
            steps.append(result)
            result = result.parent
        before = node
        for step in reversed(steps):
            if before is not None:
                self.edges[before.id, step.id] = None
            before = step
        return steps[::-1]

    def _visit(self, node: Any, *, intermediate: bool) -> list[Any]:
        if node.kind == "group":
            counts = f"{node.completed_count()} of {len(node)}"
            state = "SUCCESS" if node.successful() else "PENDING"
            state = "FAILURE" if node.failed() else state
            self.nodes[node.id] = ["group", node.id[:_SHOWN], counts], state
            return list(node)
        state, record = node.state, node.record()
        if state not in READY_STATES and not intermediate:
            raise IncompleteStream(incomplete(node))
        name = record.get("name")
        known = [line(name)] if name else []
        self.nodes[node.id] = [*known, node.id[:_SHOWN], state], state
        sent: list[Any] = node.sent_in(record)
        return sent

    def dot(self) -> str:
        """Return the tree in Graphviz's language."""
        lines = ["digraph results {", "  node [shape=box, style=filled];"]
        for task_id, (text, state) in self.nodes.items():
            label = r"\n".join(map(_escaped, text))
            colour = _COLOURS.get(state, "white")
            lines.append(
                f'  "{_escaped(task_id)}" [label="{label}", fillcolor={colour}];'
            )
        for before, after in self.edges:
            lines.append(f'  "{_escaped(before)}" -> "{_escaped(after)}";')
        return "\n".join([*lines, "}", ""])

    def mermaid(self) -> str:
        """Return the tree in Mermaid's language."""
        number = {task_id: f"n{at}" for at, task_id in enumerate(self.nodes)}
        lines = ["flowchart TD"]
        for task_id, (text, _) in self.nodes.items():
            label = "<br/>".join(line.replace('"', "#quot;") for line in text)
            lines.append(f'  {number[task_id]}["{label}"]')
        for before, after in self.edges:
            lines.append(f"  {number[before]} --> {number[after]}")
        return "\n".join([*lines, ""])

    def to_dot(self, fh: TextIO) -> None:
        """Write the tree in Graphviz's language to a file, as Celery's graphs do."""
        fh.write(self.dot())

    def __str__(self) -> str:
        return self.dot()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"")
