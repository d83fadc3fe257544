"""How fast Celery's own groups leave and come back with the swap-in installed.

Stock Celery is measured in the same round, on fewer: its rate does not depend on that.
"""

from __future__ import annotations

from typing import Any

import baselines
import pytest
from baselines import RESULTS, arrived, celery_app, purge
from celery import chord, group
from versus import Versus, rate

import celerant.celery

N = 100_000
N_RABBITMQ = 20_000
N_CHORD = 5_000
N_CELERY = 1_000


def swapped(broker: str, n: int, *, backend: str | None = None) -> Any:
    """Return a function that sends one group and returns the rate."""
    app = celery_app(broker, backend)
    add = app.tasks["bench.add"]
    job = group([add.s(i, i) for i in range(n)])

    def work() -> float:
        with celerant.celery.install():
            group([add.s(0, 0)]).apply_async()
            purge(broker)
            reached = rate(n, job.apply_async)
        assert arrived(broker, n)
        purge(broker)
        return reached

    return work


@pytest.mark.benchmark(group="swap-in: Redis")
def test_redis(versus: Versus) -> None:
    versus(
        swapped("redis", N),
        celery=lambda: baselines.celery_dispatch("redis", N_CELERY),
        celery_batch=lambda: baselines.celery_dispatch("redis", N_CELERY, batch=True),
    )


@pytest.mark.benchmark(group="swap-in: Redis")
def test_redis_with_results(versus: Versus) -> None:
    versus(
        swapped("redis", N, backend=RESULTS),
        without_results=swapped("redis", N),
        celery=lambda: baselines.celery_dispatch("redis", N_CELERY, backend=RESULTS),
    )


@pytest.mark.benchmark(group="swap-in: RabbitMQ")
def test_rabbitmq(versus: Versus) -> None:
    versus(
        swapped("amqp", N_RABBITMQ),
        celery=lambda: baselines.celery_dispatch("amqp", N_CELERY),
        celery_confirmed=lambda: baselines.celery_dispatch(
            "amqp", N_CELERY, broker_transport_options={"confirm_publish": True}
        ),
    )


def header(n: int) -> float:
    """Return the rate at which a chord's header of `n` tasks leaves."""
    app = celery_app("redis", RESULTS)
    add = app.tasks["bench.add"]
    job = chord([add.s(i, i) for i in range(n)], add.s(1))
    purge("redis")
    reached = rate(n, job.apply_async)
    assert arrived("redis", n)
    purge("redis")
    app.backend.result_consumer.stop()
    app.close()
    return reached


@pytest.mark.benchmark(group="swap-in: chords")
def test_chord(versus: Versus) -> None:
    def work() -> float:
        with celerant.celery.install():
            return header(N_CHORD)

    versus(work, celery=lambda: header(N_CELERY))
