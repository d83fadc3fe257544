"""One dispatch: chunks from the plan onto the wire, and what became of each member."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from kombu import Connection, Producer

from celerant._core import Barrier, Chunk, Ledger, Plan, Roster, Template
from celerant.canvas.kinds import readable_types
from celerant.canvas.source import Mapped
from celerant.dispatch.blueprints import Blueprints
from celerant.dispatch.connections import (
    Connections,
    Patience,
    abandon,
    connect,
    recoverable_errors,
)
from celerant.dispatch.report import Intervals, Report
from celerant.dispatch.wires.base import Broken, Wire, broken
from celerant.dispatch.wires.generic import GenericWire
from celerant.errors import ForkError, PublishError

__all__ = ["Dispatcher", "Order", "Sent"]

logger = logging.getLogger("celerant")

#: Members per chunk, and bytes after which a chunk is full earlier.
CHUNK_MEMBERS = 500
CHUNK_BYTES = 1 << 20
#: A list is encoded whole before its first byte leaves up to this size.
HELD_BYTES = 16 << 20


@dataclass(slots=True)
class Order:
    """What to send, and under which ids."""

    #: A list or tuple of members, or something to iterate once.
    source: Any
    roster: Roster
    blueprints: Blueprints
    #: Prepended to every member's arguments that is not immutable.
    args: tuple[Any, ...] = ()
    #: Override every member's keywords that is not immutable.
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: False for a single task: it has no place in a group.
    grouped: bool = True
    retry: bool = True
    retry_policy: Mapping[str, Any] = field(default_factory=dict)
    producer: Producer | None = None
    #: Half-open ranges to send; None sends all.
    only: Intervals | None = None
    #: Nested containers that `argsrepr` shows.
    repr_levels: int = 3
    ledger: Ledger = field(default_factory=Ledger)


@dataclass(slots=True)
class Sent:
    """What came of an order. `error` is why not all of it left, if so."""

    barrier: Barrier
    report: Report
    error: BaseException | None = None


class Dispatcher:
    """Sends orders over pooled connections."""

    def __init__(
        self, make_connection: Callable[[], Connection], pool_limit: int | None
    ) -> None:
        self._connections = Connections(make_connection, pool_limit)

    def close(self) -> None:
        """Close the pooled connections."""
        self._connections.close()

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        self._connections.after_fork()

    def dispatch(self, order: Order) -> Sent:
        """Send an order.

        Returns:
            The barrier, and the report of what was sent. Where the broker was lost
            or a member could not be read after others had left, `error` says so.
        Raises:
            CanvasError, EncodeError, SettingError, TypeError: A bad member, and
                nothing has been sent.
        """
        patience = Patience(order.retry_policy, enabled=order.retry)
        return _Run(order, patience).over(self._connections)


class _Run:
    """The state of one dispatch."""

    def __init__(self, order: Order, patience: Patience) -> None:
        self._order = order
        self._patience = patience
        self._ledger = order.ledger
        self._barrier = Barrier()
        self._ignored: Intervals = []
        self._wire: Wire | None = None
        self._loose: GenericWire | None = None
        self._producer: Producer | None = None
        self._started = False
        self._pid = os.getpid()
        self._plan = Plan(
            order.roster,
            # Weak: the run owns the plan, and a cycle would wait for the collector.
            _weakly(self._resolve),
            order.source,
            readable=readable_types(),
            mapped=Mapped,
            args=order.args,
            kwargs=dict(order.kwargs),
            grouped=order.grouped,
            only=order.only,
            repr_levels=order.repr_levels,
        )

    def over(self, connections: Connections) -> Sent:
        error: BaseException | None = None
        try:
            with self._connected(connections):
                self._send_all()
        except Broken as exc:
            error = self._publish_error(exc)
        except BaseException as exc:
            if not self._started:
                raise
            error = self._interrupted(exc)
        if error is not None:
            self._count_rest()
        return Sent(self._sealed(), self._report(), error)

    # -- wires -------------------------------------------------------------------

    @contextmanager
    def _connected(self, connections: Connections) -> Iterator[None]:
        producer = self._order.producer
        if producer is not None:
            # The caller's producer: its connection, its channel, its batch.
            self._producer = producer
            yield
            return
        with connections.acquire() as connection:
            with broken(connection):
                self._producer = Producer(connection, auto_declare=False)
                self._wire = self._open(connection)
                self._patience.reset()
            if self._wire is None:
                yield
                return
            try:
                yield
            except BaseException as exc:
                self._leave(self._wire, exc)
                raise
            finally:
                # In a forked child the connection is still the parent's.
                if os.getpid() == self._pid:
                    self._wire.close()

    def _leave(self, wire: Wire, exc: BaseException) -> None:
        """Drop what is under way, with its fate where that can be had."""
        if os.getpid() != self._pid:
            abandon(wire)
            return
        try:
            if isinstance(exc, Exception):
                # A member or its source failed: that says nothing of the wire.
                with suppress(Broken):
                    wire.flush()
        finally:
            wire.abort()

    def _open(self, connection: Connection) -> Wire | None:
        """Connect, over the failover list, and return what carries the messages."""
        # It may have died while nobody used it: finding that out is not a try.
        is_doubtful = connection.connected
        while True:
            connect(connection, self._patience)
            try:
                return self._choose(connection)
            except recoverable_errors(connection) as exc:
                connection.collect()
                if not is_doubtful:
                    self._patience.pause(exc)
                is_doubtful = False

    def _choose(self, connection: Connection) -> Wire | None:
        driver = connection.transport.driver_type
        order = self._order
        # Imported where it is needed: redis-py and py-amqp are extras.
        if driver == "redis":
            from celerant.dispatch.wires import redis  # noqa: PLC0415

            if redis.carries(connection.default_channel):
                token = f"{order.roster.uuid}.{os.urandom(4).hex()}"
                return redis.RedisWire(connection, self._ledger, token, self._patience)
        elif driver == "amqp":
            from celerant.dispatch.wires import amqp  # noqa: PLC0415

            if amqp.carries(connection.default_channel):
                return amqp.AmqpWire(
                    connection, self._ledger, order.roster, self._patience
                )
        return None

    def _resolve(
        self, name: str, options: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Template:
        """Render the message of a member; the plan calls this once per kind."""
        drawn = self._order.blueprints.draw(name, options, args, kwargs)
        form = None
        if self._wire is not None:
            assert self._producer is not None  # noqa: S101 - set before the wire
            with broken(self._producer.connection):
                form = self._wire.render(drawn)
        if form is None:
            form = self._generic().render(drawn)
        body = drawn.blueprint.body
        return Template(
            form,
            encode=body,
            embed=body.embed_json() if body.plain else None,
            parameters=self._order.blueprints.parameters(name),
            ignored=drawn.ignored,
            reusable=drawn.reusable,
            timed=drawn.timed,
        )

    def _generic(self) -> GenericWire:
        if self._loose is None:
            assert self._producer is not None  # noqa: S101 - set before the plan is read
            self._loose = GenericWire(self._producer, self._ledger, self._patience)
        return self._loose

    # -- sending -----------------------------------------------------------------

    def _send_all(self) -> None:
        held: list[Chunk] | None = [] if self._plan.holds else None
        size = 0
        while (chunk := self._plan.read(CHUNK_MEMBERS, CHUNK_BYTES)) is not None:
            self._ledger.grow(self._plan.count)
            self._ignored += chunk.ignored()
            if held is None:
                self._send(chunk)
                continue
            held.append(chunk)
            size += chunk.size
            if size > HELD_BYTES:
                for ready in held:
                    self._send(ready)
                held = None
        for ready in held or ():
            self._send(ready)
        if self._wire is not None:
            self._wire.flush()

    def _send(self, chunk: Chunk) -> None:
        if os.getpid() != self._pid:
            msg = (
                f"process {self._pid} was forked while it sent a group; its child "
                f"{os.getpid()} must not go on with the same connection"
            )
            raise ForkError(msg, created_in_pid=self._pid)
        self._started = True
        if self._wire is not None and chunk.has_wired:
            self._wire.send(chunk)
        if self._loose is not None:
            self._loose.send(chunk)

    # -- accounting --------------------------------------------------------------

    def _count_rest(self) -> None:
        """Count what an interrupted list still holds, so that it can be resumed."""
        if self._plan.holds:
            try:
                self._plan.skip_rest()
            except Exception:  # noqa: BLE001 - what stopped the dispatch is told already
                # The members behind a broken one cannot be counted.
                logger.debug("members behind a broken one are not counted")
        self._ledger.grow(self._plan.count)

    def _sealed(self) -> Barrier:
        total = len(self._ledger)
        self._order.roster.resize(total)
        barrier = self._barrier
        barrier.grow(total)
        for state in ("rejected", "unsent"):
            for start, stop in self._ledger.intervals(state):
                barrier.arrive_range(start, stop, Barrier.NOT_SENT)
        for start, stop in self._ignored:
            barrier.arrive_range(start, stop, Barrier.IGNORED)
        barrier.seal(total)
        return barrier

    def _report(self) -> Report:
        double: set[int] = set()
        for wire in (self._wire, self._loose):
            double |= getattr(wire, "maybe_double", set())
        return Report(self._ledger, _intervals(sorted(double)))

    def _publish_error(self, exc: Broken) -> PublishError:
        error = PublishError(str(exc), recoverable=exc.recoverable)
        error.__cause__ = exc.__cause__
        return error

    def _interrupted(self, exc: BaseException) -> BaseException:
        if not isinstance(exc, Exception):
            # Ctrl-C and the like go on as they are.
            return exc
        message = f"sending stopped at group[{self._plan.count}]: {exc}"
        error = PublishError(message, recoverable=False)
        error.__cause__ = exc
        return error


def _weakly(method: Any) -> Callable[..., Template]:
    found = weakref.WeakMethod(method)

    def call(*args: Any) -> Template:
        alive = found()
        assert alive is not None  # noqa: S101 - who reads the plan holds the run
        resolved: Template = alive(*args)
        return resolved

    return call


def _intervals(indices: list[int]) -> Intervals:
    runs: Intervals = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
