"""Reads the members of a group as a dispatch does, and sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celerant import Celerant, _core
from celerant.canvas.readable import readable
from celerant.dispatch.blueprints import Basis, Blueprints, Lineage
from celerant.dispatch.connections import Patience
from celerant.dispatch.order import Order
from celerant.dispatch.wires.redis import RedisWire

__all__ = ["reading"]

#: Messages in a chunk, and bytes, as the dispatcher reads them.
_CHUNK = 500, 1 << 20


@contextmanager
def reading(app: Celerant) -> Iterator[Callable[..., int]]:
    """Yield what reads a group's source, and returns how many members it has.

    With `encode` their messages are encoded for Redis, too.
    """
    basis = Basis(app.conf, *app.routes(), {}, None, lambda _: "")
    rules = _core.Rules(readable())
    with app.connection_for_write() as connection:
        connection.connect()
        wire = RedisWire(connection)

        def read(source: Any, *, encode: bool) -> int:
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
                source,
                _core.Roster(bytes(16)),
                blueprints,
                rules,
                Patience({}, enabled=False),
                _core.Ledger(),
            )
            plan = _core.Plan(order, resolve, resolve)
            count = 0
            while (chunk := plan.read(*_CHUNK)) is not None:
                if encode:
                    chunk.redis(b"mark", 1, bytes(16))
                count += len(chunk)
            return count

        yield read
        wire.close()
