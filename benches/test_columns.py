"""The rate of tables as arguments, beside tuples of the same values.

The sink is memory: members are read, or encoded for Redis, and dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
from versus import Versus

from celerant import Celerant, _core, group
from celerant.canvas.readable import readable
from celerant.dispatch.blueprints import Basis, Blueprints, Lineage
from celerant.dispatch.connections import Patience
from celerant.dispatch.order import Order
from celerant.dispatch.wires.redis import RedisWire

N = 100_000
#: Messages in a chunk, and bytes, as the dispatcher reads them.
CHUNK = 500, 1 << 20
TABLES: dict[str, Any] = {
    "three": {
        "id": range(N),
        "score": [i / 7 for i in range(N)],
        "name": [f"name {i}" for i in range(N)],
    },
    "ten": {f"x{column}": range(column, N + column) for column in range(10)},
}


@contextmanager
def _reading(app: Celerant) -> Iterator[Callable[..., int]]:
    """Return what reads all members of a group, and says how many there are."""
    basis = Basis(app.conf, *app.routes(), {}, None, lambda _: "")
    rules = _core.Rules(readable())
    with app.connection_for_write() as connection:
        connection.connect()
        wire = RedisWire(connection)

        def read(members: Any, *, encode: bool) -> int:
            blueprints = Blueprints(basis, Lineage(), "g", {})

            def resolve(
                name: str, options: Any, args: Any, kwargs: Any, *_: Any
            ) -> Any:
                blueprint = blueprints.draw(name, options, args, kwargs)
                form = wire.render(blueprint)
                assert form is not None
                return _core.Template(
                    form,
                    encode=blueprint.body,
                    embed=blueprint.body.embed_json(),
                    parameters=None,
                    ignored=False,
                    reusable=True,
                    timed=False,
                )

            order = Order(
                members["kwargs"]["tasks"],
                _core.Roster(bytes(16)),
                blueprints,
                rules,
                Patience({}, enabled=False),
                _core.Ledger(),
            )
            plan = _core.Plan(order, resolve, resolve)
            count = 0
            while (chunk := plan.read(*CHUNK)) is not None:
                if encode:
                    chunk.redis(b"mark", 1, bytes(16))
                count += len(chunk)
            return count

        yield read
        wire.close()


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
    with _reading(app) as read:

        def of(make: Callable[[], Any]) -> Callable[[], float]:
            def work() -> None:
                members: Any = group.starmap(add, make())
                assert read(members, encode=encode) == N

            return lambda: _rate(work)

        versus(
            of(lambda: table),
            tuples=of(lambda: tuples),
            tuples_of_table=of(lambda: _values(table)),
        )
    app.close()
