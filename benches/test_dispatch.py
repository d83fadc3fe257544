"""The rates of groups, beside stock Celery and the limits of the broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import baselines
import pytest
from baselines import BROKERS, QUEUE, RESULTS, arrived, purge
from delaying import delayed
from reading import reading
from versus import Versus, rate

from celerant import Celerant, Signature, group

N = 20_000
N_MANY = 100_000
PORTS = {"redis": 6379, "amqp": 5672}
#: Stock Celery is measured on fewer, because it takes seconds for them.
N_CELERY = 1_000
N_FAR = {"redis": 30_000, "amqp": 10_000}
N_CELERY_FAR = 100


def _url(broker: str, port: int | None) -> str:
    """Return a broker's URL, by another port if one is given."""
    url = BROKERS[broker]
    return url if port is None else url.replace(str(PORTS[broker]), str(port))


@pytest.fixture
def send() -> Iterator[Any]:
    """Return a function that sends n tasks to a broker and returns the rate."""
    apps: list[Celerant] = []

    def make(
        broker: str, backend: str | None = None, n: int = N, port: int | None = None
    ) -> Any:
        app = Celerant("bench", broker=_url(broker, port), backend=backend)
        app.conf.update(task_default_queue=QUEUE, task_ignore_result=backend is None)
        apps.append(app)

        @app.task(name="bench.add")
        def add(x: int, y: int) -> int:
            return x + y

        members = [add.s(i, i) for i in range(n)]
        group([add.s(0, 0)]).apply_async()
        purge(broker)

        def work() -> float:
            reached = rate(n, lambda: group(members).apply_async())
            assert arrived(broker, n)
            purge(broker)
            return reached

        return work

    yield make
    for app in apps:
        app.close()


@pytest.mark.benchmark(group="dispatch: Redis")
def test_redis(versus: Versus, send: Any) -> None:
    versus(
        send("redis"),
        celery=lambda: baselines.celery_dispatch("redis", N_CELERY),
        celery_batch=lambda: baselines.celery_dispatch("redis", N_CELERY, batch=True),
        raw_socket=lambda: baselines.raw_redis_socket(N),
    )


@pytest.mark.benchmark(group="dispatch: Redis")
def test_redis_with_results(versus: Versus, send: Any) -> None:
    versus(
        send("redis", RESULTS),
        without_results=send("redis"),
        celery=lambda: baselines.celery_dispatch("redis", N_CELERY, backend=RESULTS),
    )


@pytest.mark.benchmark(group="dispatch: RabbitMQ")
def test_rabbitmq_confirmed(versus: Versus, send: Any) -> None:
    confirm = {"confirm_publish": True}
    versus(
        send("amqp"),
        celery=lambda: baselines.celery_dispatch("amqp", N_CELERY),
        celery_confirmed=lambda: baselines.celery_dispatch(
            "amqp", N_CELERY, broker_transport_options=confirm
        ),
        ready_frames=lambda: baselines.ready_frames(N),
    )


@pytest.mark.benchmark(group="dispatch: Redis")
def test_redis_beside_ready_bytes(versus: Versus, send: Any) -> None:
    """What Redis takes over one socket if nothing has to be made or waited for."""
    versus(
        send("redis", n=N_MANY),
        ready_bytes=lambda: baselines.raw_redis_socket(N_MANY, in_flight=4),
    )


@pytest.mark.timeout(300)
@pytest.mark.benchmark(group="dispatch: far away")
@pytest.mark.parametrize("ms", [0, 1, 5])
@pytest.mark.parametrize("broker", list(N_FAR))
def test_far(versus: Versus, send: Any, benchmark: Any, broker: str, ms: int) -> None:
    """So many milliseconds each way, beside the same without."""
    n = N_FAR[broker]
    with (
        delayed(PORTS[broker], ms / 1000) as far,
        delayed(PORTS[broker], 0) as near,
    ):
        versus(
            send(broker, n=n, port=far),
            near_through_proxy=send(broker, n=n, port=near),
            near=send(broker, n=n),
            celery=lambda: baselines.celery_dispatch(
                broker, N_CELERY_FAR, url=_url(broker, far)
            ),
        )
    benchmark.extra_info["plot"] = [f"distance-{broker}", ms]


@pytest.mark.benchmark(group="dispatch: memory")
def test_memory(versus: Versus, send: Any) -> None:
    versus(send("memory"), kombu=lambda: baselines.kombu_memory(N))


@pytest.mark.benchmark(group="encode")
def test_encode(versus: Versus) -> None:
    """Read, unroll, freeze and encode for Redis; nothing is sent."""
    app = Celerant("bench", broker=BROKERS["redis"])
    app.conf.task_default_queue = QUEUE
    members: list[Signature[int]] = [
        Signature("bench.add", (i, i), {}) for i in range(N)
    ]
    with reading(app) as read:

        def encode() -> None:
            assert read(members, encode=True) == N

        versus(
            lambda: rate(N, encode),
            celery_to_memory=lambda: baselines.celery_dispatch("memory", N_CELERY),
        )
    app.close()
