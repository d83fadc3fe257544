"""The same tasks on a Celerant app and on a Celery app."""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace
from typing import Any

__all__ = ["TUNED_QUEUE", "define_tasks"]

#: The queue of task `tuned`; one for each of several test processes.
TUNED_QUEUE = f"celerant-test-tuned{os.environ.get('PYTEST_XDIST_WORKER', '')}"


def define_tasks(app: Any, **common: Any) -> SimpleNamespace:
    """Register the test tasks on `app`, under the same names on every app.

    `common` are options of every task: Celery wants ``shared=False`` so that the
    tasks of one test don't turn up in the apps of the next.
    """
    task = partial(app.task, **common)

    @task(name="celerant_test.add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    @task(name="celerant_test.echo")
    def echo(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @task(name="celerant_test.describe")
    def describe(value: Any) -> str:
        return f"{type(value).__name__}:{value!r}"

    @task(name="celerant_test.fail")
    def fail(message: str) -> None:
        raise ValueError(message)

    @task(name="celerant_test.ignored", ignore_result=True)
    def ignored(*args: Any, **kwargs: Any) -> None:
        return None

    @task(
        name="celerant_test.tuned",
        queue=TUNED_QUEUE,
        priority=3,
        expires=900,
        compression="gzip",
        time_limit=60,
        soft_time_limit=50,
    )
    def tuned(*args: Any, **kwargs: Any) -> None:
        return None

    @task(name="celerant_test.pickled", serializer="pickle")
    def pickled(*args: Any, **kwargs: Any) -> None:
        return None

    return SimpleNamespace(
        add=add,
        echo=echo,
        describe=describe,
        fail=fail,
        ignored=ignored,
        tuned=tuned,
        pickled=pickled,
    )
