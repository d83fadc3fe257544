"""The same tasks on a Celerant app and on a Celery app."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

__all__ = ["TUNED_QUEUE", "define_tasks"]

#: The queue of task `tuned`; one for each of several test processes.
TUNED_QUEUE = f"celerant-test-tuned{os.environ.get('PYTEST_XDIST_WORKER', '')}"


def add(x: Any, y: Any) -> Any:
    return x + y


def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


def describe(value: Any) -> str:
    return f"{type(value).__name__}:{value!r}"


def fail(message: str) -> None:
    raise ValueError(message)


def ignored(*args: Any, **kwargs: Any) -> None:
    return None


def tuned(*args: Any, **kwargs: Any) -> None:
    return None


def pickled(*args: Any, **kwargs: Any) -> None:
    return None


_OPTIONS: dict[Any, dict[str, Any]] = {
    add: {},
    echo: {},
    describe: {},
    fail: {},
    ignored: {"ignore_result": True},
    tuned: {
        "queue": TUNED_QUEUE,
        "priority": 3,
        "expires": 900,
        "compression": "gzip",
        "time_limit": 60,
        "soft_time_limit": 50,
    },
    pickled: {"serializer": "pickle"},
}


def define_tasks(app: Any, **common: Any) -> SimpleNamespace:
    """Register the test tasks on `app`, under the same names on every app.

    A second call for an app returns the same tasks. `common` are options of every task:
    Celery wants ``shared=False`` so that the tasks of one test don't turn up in the
    apps of the next.
    """
    made = {
        function.__name__: app.task(
            function, name=f"celerant_test.{function.__name__}", **common, **options
        )
        for function, options in _OPTIONS.items()
    }
    return SimpleNamespace(**made)
