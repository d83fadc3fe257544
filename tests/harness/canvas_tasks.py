"""Tasks that chains, chords and errbacks are tested with, for every kind of worker.

Their notes, and the signals they wait for, are in Redis: workers are several processes.
"""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import redis

__all__ = ["define_canvas_tasks"]

_TIMEOUT_S = 30


def define_canvas_tasks(  # noqa: C901 - many small tasks
    app: Any, url: str, **common: Any
) -> SimpleNamespace:
    """Register the tasks on `app`, under the same names on every app.

    Args:
        app: Of Celery or Celerant.
        url: Of the Redis with their notes and signals.
        common: Options of every task.
    """
    task = partial(app.task, **common)

    def connect() -> Any:
        # Longer than redis-py itself waits.
        return redis.Redis.from_url(url, socket_timeout=2 * _TIMEOUT_S)

    def tell(key: str, *entry: Any) -> None:
        with connect() as client:
            client.rpush(key, json.dumps(entry))
            client.expire(key, 600)

    @task(name="canvas.add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    @task(name="canvas.fail")
    def fail(*args: Any) -> None:
        raise ValueError(*args)

    @task(name="canvas.gather")
    def gather(values: Any, key: str) -> Any:
        tell(key, "gathered", values)
        return values

    @task(name="canvas.gate")
    def gate(key: str, value: Any) -> Any:
        """Return `value` when an item was pushed to `key`."""
        with connect() as client:
            if client.blpop([key], timeout=_TIMEOUT_S) is None:
                raise TimeoutError(key)
        return value

    @task(name="canvas.meet")
    def meet(key: str, value: Any) -> Any:
        """Return `value`; the first to come waits for the second to be there."""
        with connect() as client:
            place = client.incr(key)
            client.expire(key, 600)
            if place == 2:
                client.rpush(f"{key}.second", "here")
            elif place == 1 and client.blpop([f"{key}.second"], _TIMEOUT_S) is None:
                raise TimeoutError(key)
        return value

    @task(name="canvas.on_failure")
    def on_failure(request: Any, exc: Any, traceback: Any, *, key: str) -> None:
        tell(key, "called", request.id, repr(exc), bool(traceback))

    @task(name="canvas.on_id")
    def on_id(task_id: str, *, key: str) -> None:
        tell(key, "sent", task_id)

    return SimpleNamespace(
        add=add,
        fail=fail,
        gather=gather,
        gate=gate,
        meet=meet,
        on_failure=on_failure,
        on_id=on_id,
    )
