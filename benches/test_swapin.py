"""How fast Celery's own groups leave and come back with the swap-in installed.

Stock Celery is measured in the same round, on fewer: its rate does not depend on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import baselines
import pytest
import sentry_sdk
from baselines import RESULTS, arrived, celery_app, purge
from celery import chain, chord, group, signals
from versus import Versus, rate

import celerant.celery
from harness.tracing import opentelemetry, sentry

N = 100_000
N_RABBITMQ = 20_000
N_CHAINS = 20_000
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


@contextmanager
def receiver() -> Iterator[None]:
    """Have somebody hear of each message, who marks it."""

    def mark(headers: dict[str, Any], **_: Any) -> None:
        headers["request"] = headers["id"][:8]

    signals.before_task_publish.connect(mark)
    try:
        yield
    finally:
        signals.before_task_publish.disconnect(mark)


@contextmanager
def in_transaction() -> Iterator[None]:
    """Have Sentry watch, as in a request to a web server."""
    with sentry(), sentry_sdk.start_transaction(name="request"):
        yield


WATCHED: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "receiver": receiver,
    "sentry": in_transaction,
    "opentelemetry": opentelemetry,
}


@pytest.mark.parametrize("watching", WATCHED)
@pytest.mark.benchmark(group="swap-in: watched")
def test_watched(versus: Versus, watching: str) -> None:
    n = N // 5 if watching == "receiver" else N
    send = swapped("redis", n)

    def watched(work: Callable[[], float]) -> Callable[[], float]:
        def inside() -> float:
            with WATCHED[watching]():
                return work()

        return inside

    def celery() -> float:
        return baselines.celery_dispatch("redis", N_CELERY)

    versus(watched(send), celery_watched=watched(celery), celery=celery)


def swapped_canvas(n: int, make: Callable[[Any, int], Any]) -> Callable[[], float]:
    """Return a function that sends a canvas of `n` over Redis and returns the rate."""
    app = celery_app("redis", RESULTS)
    job = make(app.tasks["bench.add"], n)

    def work() -> float:
        with celerant.celery.install():
            make(app.tasks["bench.add"], 2).apply_async()
            purge("redis")
            reached = rate(n, job.apply_async)
        assert arrived("redis", n)
        purge("redis")
        return reached

    return work


def celery_canvas(make: Callable[[Any, int], Any]) -> float:
    """Return the rate at which stock Celery sends a canvas over Redis."""
    app = celery_app("redis", RESULTS)
    job = make(app.tasks["bench.add"], N_CELERY)
    purge("redis")
    reached = rate(N_CELERY, job.apply_async)
    assert arrived("redis", N_CELERY)
    purge("redis")
    app.backend.result_consumer.stop()
    app.close()
    return reached


def header(add: Any, n: int) -> Any:
    """Return a chord of `n` tasks."""
    return chord([add.s(i, i) for i in range(n)], add.s(1))


def chains(add: Any, n: int) -> Any:
    """Return a group of `n` chains of three."""
    return group([chain(add.s(i, i), add.s(1), add.s(2)) for i in range(n)])


def header_of_chains(add: Any, n: int) -> Any:
    """Return a chord of `n` chains of three."""
    return chains(add, n) | add.s(1)


@pytest.mark.benchmark(group="swap-in: chords and chains")
@pytest.mark.parametrize(
    ("make", "n"),
    [(header, N), (chains, N_CHAINS), (header_of_chains, N_CHAINS)],
    ids=["chord", "group_of_chains", "chord_of_chains"],
)
def test_canvases(versus: Versus, make: Callable[[Any, int], Any], n: int) -> None:
    versus(swapped_canvas(n, make), celery=lambda: celery_canvas(make))
