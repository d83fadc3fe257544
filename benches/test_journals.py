"""The cost of a journal: a group that names what leaves, and one that does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from baselines import BROKERS, RESULTS
from kombu import Connection
from versus import Versus, rate

from celerant import Celerant, Task, group

N = 100_000
_QUEUE = "bench-journals"


@pytest.fixture(params=["redis", "amqp"])
def app(request: pytest.FixtureRequest) -> Iterator[Celerant]:
    """Return an app with a queue of its own, deleted afterwards."""
    broker = BROKERS[request.param]
    with Celerant(
        "bench",
        broker=broker,
        backend=RESULTS,
        task_default_queue=_QUEUE,
        task_ignore_result=True,
    ) as app:
        yield app
    with Connection(broker) as connection:
        connection.default_channel.queue_delete(_QUEUE)


def _task(app: Celerant) -> Task[[int], None]:
    known: Task[[int], None] | None = app.tasks.get("bench.nothing")
    if known is not None:
        return known

    @app.task(name="bench.nothing")
    def nothing(_: int) -> None:
        return None

    return nothing


def _measured(app: Celerant, **options: Any) -> float:
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge(_QUEUE)
    members = group.map(_task(app), range(N))
    return rate(N, lambda: members.apply_async(**options))


@pytest.mark.benchmark(group="journals")
@pytest.mark.timeout(600)
def test_file(versus: Versus, app: Celerant, tmp_path: Path) -> None:
    """A journal in a file."""
    group.map(_task(app), range(1)).apply_async()
    numbers = itertools.count()
    versus(
        lambda: _measured(app, journal=tmp_path / f"{next(numbers)}.journal"),
        without=lambda: _measured(app),
    )


@pytest.mark.benchmark(group="journals")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("app", ["redis"], indirect=True)
def test_in_redis(versus: Versus, app: Celerant) -> None:
    """A journal in the Redis that is the broker."""
    group.map(_task(app), range(1)).apply_async()
    versus(
        lambda: _measured(app, journal=True),
        without=lambda: _measured(app),
    )
