"""Tasks that take the result of a chord's header, for processes to import."""

from __future__ import annotations

import os

from celerant import Celerant, GroupResult

__all__ = ["app"]

app = Celerant("header-tasks", broker="memory://", backend="memory://")


@app.task
def add(x, y):
    """Add two values."""
    return x + y


@app.task
def gather(values: GroupResult[int]):
    """Say what it was given, and in which process."""
    kind = type(values).__name__
    total = sum(values if kind == "list" else values.get(timeout=10))
    return kind, total, os.getpid()
