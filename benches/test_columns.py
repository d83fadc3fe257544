"""The rate of tables as arguments, beside tuples of the same values.

The sink is memory: members are read, or encoded for Redis, and dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from reading import reading
from versus import Versus

from celerant import Celerant, group

N = 100_000
TABLES: dict[str, Any] = {
    "three": {
        "id": range(N),
        "score": [i / 7 for i in range(N)],
        "name": [f"name {i}" for i in range(N)],
    },
    "ten": {f"x{column}": range(column, N + column) for column in range(10)},
}


def _rate(work: Callable[[], None]) -> float:
    """Return members per second of this thread's time: nothing waits here."""
    started = time.thread_time()
    work()
    return N / (time.thread_time() - started)


def _values(table: Any) -> list[tuple[Any, ...]]:
    """Return the rows as Python's values, as one writes it without tables."""
    return list(zip(*[column.to_pylist() for column in table.columns], strict=True))


@pytest.mark.benchmark(group="columns")
@pytest.mark.parametrize("encode", [False, True], ids=["read", "encoded"])
@pytest.mark.parametrize("name", TABLES)
def test_columns(versus: Versus, name: str, *, encode: bool) -> None:
    """A table, beside tuples that are there, and tuples made of the table."""
    table = pa.table(TABLES[name])
    tuples = _values(table)
    app = Celerant("bench", broker="redis://127.0.0.1:6379/0")
    add = app.task(name="bench.add")(lambda *args: args)
    with reading(app) as read:

        def of(make: Callable[[], Any]) -> Callable[[], float]:
            def work() -> None:
                members: Any = group.starmap(add, make())
                assert read(members["kwargs"]["tasks"], encode=encode) == N

            return lambda: _rate(work)

        versus(
            of(lambda: table),
            tuples=of(lambda: tuples),
            tuples_of_table=of(lambda: _values(table)),
        )
    app.close()
