"""The rates of stock Celery, and the limits of machine and broker.

Each returns tasks (or results) per second, and asserts its outcome.
"""

from __future__ import annotations

import json
import time
from typing import Any, cast

import orjson
import redis
from amqp.transport import TCPTransport
from celery import Celery
from celery import group as celery_group
from kombu import Connection, Exchange, Producer, Queue
from ready import pushing
from versus import rate

REDIS = "redis://127.0.0.1:6379/11"
RESULTS = "redis://127.0.0.1:6379/10"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
QUEUE = "celerant-bench"
BROKERS = {"redis": REDIS, "amqp": RABBITMQ, "memory": "memory://"}


def waiting(broker: str) -> int:
    """Return how many messages wait in the bench's queue."""
    with Connection(BROKERS[broker]) as connection:
        channel = connection.default_channel
        return int(channel.queue_declare(QUEUE, passive=True).message_count)


def arrived(broker: str, n: int, deadline: float = 30.0) -> bool:
    """Whether `n` messages are in the queue; unconfirmed ones may take a moment."""
    until = time.monotonic() + deadline
    while waiting(broker) != n:
        if time.monotonic() > until:
            return False
    return True


def purge(broker: str) -> None:
    """Empty the bench's queue."""
    with Connection(BROKERS[broker]) as connection:
        Queue(QUEUE, Exchange(QUEUE), QUEUE)(connection.default_channel).declare()
        connection.default_channel.queue_purge(QUEUE)


def celery_app(broker: str, backend: str | None = None, **conf: Any) -> Celery:
    """Return a stock app with the task ``bench.add``."""
    app = Celery("bench", broker=BROKERS[broker], backend=backend, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE, task_ignore_result=backend is None, **conf
    )

    @app.task(name="bench.add", shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def add(x: int, y: int) -> int:
        return x + y

    return app


def celery_dispatch(
    broker: str,
    n: int,
    *,
    backend: str | None = None,
    batch: bool = False,
    url: str | None = None,
    **conf: Any,
) -> float:
    """Stock ``group(...).apply_async()`` of `n` ready signatures.

    Args:
        broker: A key of `BROKERS`.
        n: How many.
        backend: Where results go; None has them ignored.
        batch: Send inside kombu's `Producer.batch`.
        url: Another way to the same broker.
        conf: More settings.
    """
    app = celery_app(broker, backend, **conf)
    if url is not None:
        app.conf.broker_url = url
    add = app.tasks["bench.add"]
    job = celery_group([add.s(i, i) for i in range(n)])
    with app.producer_pool.acquire(block=True) as producer:
        purge(broker)
        celery_group([add.s(0, 0)]).apply_async(producer=producer)
        # Unconfirmed, it may still be on its way.
        assert arrived(broker, 1)
        purge(broker)

        def send() -> None:
            if batch:
                with producer.batch(max_size=1000):
                    job.apply_async(producer=producer)
            else:
                job.apply_async(producer=producer)

        reached = rate(n, send)
    assert arrived(broker, n)
    purge(broker)
    app.close()
    return reached


def celery_rpc(queue: str, n: int) -> float:
    """Stock ``group(...).apply_async().get()`` over ``rpc://``."""
    app = celery_app("amqp", "rpc://")
    app.conf.task_default_queue = queue
    add = app.signature("celerant_test.add")

    def volley() -> None:
        job = celery_group([add.clone((i, i)) for i in range(n)], app=app)
        values = job.apply_async().get(timeout=120)
        assert values == [2 * i for i in range(n)]

    reached = rate(n, volley)
    app.backend.result_consumer.stop()
    app.close()
    return reached


def delete(queue: str) -> None:
    """Delete a queue of RabbitMQ."""
    with Connection(RABBITMQ) as connection:
        connection.default_channel.queue_delete(queue)


def raw_redis_socket(n: int, chunk: int = 500, in_flight: int = 1) -> float:
    """A bare socket: ready RESP, variadic LPUSH, so many chunks without a reply."""
    message = _message("redis")
    with pushing(message, QUEUE, chunk=chunk, in_flight=in_flight) as push:
        reached = rate(n, lambda: push(n))
    assert arrived("redis", n)
    purge("redis")
    return reached


def ready_frames(n: int, chunk: int = 500, in_flight: int = 10) -> float:
    """Ready publish frames to a durable queue, persistent, confirmed by window."""
    frames = _frames()
    with Connection(RABBITMQ) as connection:
        channel = connection.channel()
        channel.queue_purge(QUEUE)
        raw = channel.connection
        channel.confirm_select()
        unconfirmed: dict[int, None] = {}

        def on_ack(tag: int, multiple: bool) -> None:  # noqa: FBT001 - py-amqp's callback
            if not multiple:
                unconfirmed.pop(tag, None)
                return
            while unconfirmed and (first := next(iter(unconfirmed))) <= tag:
                del unconfirmed[first]

        channel.events["basic_ack"].add(on_ack)
        blob = frames * chunk

        def send() -> None:
            for start in range(1, n + 1, chunk):
                unconfirmed.update(dict.fromkeys(range(start, start + chunk)))
                raw.transport.write(blob)
                while len(unconfirmed) > in_flight * chunk:
                    raw.drain_events(timeout=30)
            while unconfirmed:
                raw.drain_events(timeout=30)

        reached = rate(n, send)
    assert arrived("amqp", n)
    purge("amqp")
    return reached


def kombu_memory(n: int) -> float:
    """Publish ready bodies to ``memory://`` with kombu alone."""
    message = json.loads(_message("redis"))
    message["properties"].pop("delivery_info")
    headers = message["headers"]
    body = b'[[1, 1], {}, {"callbacks": null, "errbacks": null, "chain": null}]'
    with Connection("memory://") as connection:
        channel = connection.channel()
        queue = Queue(QUEUE, Exchange(""), routing_key=QUEUE)(channel)
        queue.declare()
        producer = Producer(channel)

        def send() -> None:
            for _ in range(n):
                producer.publish(
                    body,
                    routing_key=QUEUE,
                    content_type="application/json",
                    content_encoding="utf-8",
                    headers=headers,
                    correlation_id="a" * 36,
                    reply_to="x",
                    delivery_mode=2,
                )

        reached = rate(n, send)
        queue.purge()
    return reached


def store_results(ids: list[str]) -> None:
    """Store as stock workers do: SET with a TTL and PUBLISH, in transactions."""
    client = redis.Redis.from_url(RESULTS)
    for start in range(0, len(ids), 200):
        with client.pipeline(transaction=True) as pipe:
            for value, task_id in enumerate(ids[start : start + 200], start):
                record = json.dumps(
                    {
                        "status": "SUCCESS",
                        "result": value,
                        "traceback": None,
                        "children": [],
                        "date_done": "2026-11-20T18:00:00.000000+00:00",
                        "group_id": "g",
                        "task_id": task_id,
                    }
                )
                key = f"celery-task-meta-{task_id}"
                pipe.set(key, record, ex=86400)
                pipe.publish(key, record)
            pipe.execute()
    client.close()


def mget(ids: list[str]) -> float:
    """MGET by the thousand and orjson."""
    client = redis.Redis.from_url(RESULTS)

    def read() -> None:
        values: list[int] = []
        for start in range(0, len(ids), 1000):
            keys = [f"celery-task-meta-{i}" for i in ids[start : start + 1000]]
            values += [
                orjson.loads(record or b"")["result"] for record in client.mget(keys)
            ]
        assert values == list(range(len(ids)))

    reached = rate(len(ids), read)
    client.close()
    return reached


def _message(broker: str) -> bytes:
    """Return a message as stock Celery leaves it in Redis."""
    app = celery_app(broker)
    purge(broker)
    add = app.tasks["bench.add"]
    celery_group([add.s(1, 1), add.s(2, 2)]).apply_async()
    message: bytes = cast("Any", redis.Redis.from_url(REDIS)).lrange(QUEUE, 0, 0)[0]
    purge(broker)
    app.close()
    return message


def _frames() -> bytes:
    """Return the frames that stock Celery writes for one task."""
    written: list[bytes] = []
    write = TCPTransport.write

    def spy(self: Any, data: Any) -> Any:
        written.append(bytes(data))
        return write(self, data)

    app = celery_app("amqp")
    purge("amqp")
    # A connection takes its transport's `write` once, when it connects.
    TCPTransport.write = spy
    try:
        with Connection(RABBITMQ) as connection:
            channel = connection.channel()
            with app.amqp.Producer(channel) as producer:
                app.tasks["bench.add"].apply_async((1, 1), producer=producer)
    finally:
        TCPTransport.write = write
    app.close()
    return b"".join(data for data in written if b"bench.add" in data)
