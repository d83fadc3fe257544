"""The module that a `celery worker` process runs whose tasks send groups."""

from __future__ import annotations

from celery import Task, chain, chord, group

from harness.stock_worker import app

__all__ = ["app"]


@app.task(name="celerant_test.spread", bind=True)
def spread(self: Task, n: int) -> list[str]:
    """Send a group from inside a task; return its members' ids."""
    add = app.tasks["celerant_test.add"]
    result = group(add.s(i, i) for i in range(n)).apply_async()
    return [one.id for one in result]


@app.task(name="celerant_test.become", bind=True)
def become(self: Task, n: int) -> None:
    """Be replaced by a group."""
    add = app.tasks["celerant_test.add"]
    raise self.replace(group([add.s(i, i) for i in range(n)]))


@app.task(name="celerant_test.weave", bind=True)
def weave(self: Task, n: int) -> list[str]:
    """Send a chord, and a chain that ends in a group; return their values."""
    add = app.tasks["celerant_test.add"]
    echo = app.tasks["celerant_test.echo"]
    parts = [add.s(i, i) for i in range(n)]
    body = chord(parts, echo.s()).apply_async()
    spread_out = chain(add.s(1, 1), group([add.s(i) for i in range(n)])).apply_async()
    return [body.id, *(one.id for one in spread_out)]


@app.task(name="celerant_test.where", bind=True)
def where(self: Task) -> str:
    """Return the routing key under which this came."""
    return str(self.request.delivery_info["routing_key"])
