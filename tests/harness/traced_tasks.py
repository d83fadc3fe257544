"""Tasks whose values show order and nesting, and which tell of every call.

Each is called with its place `at`, ``[run, canvas, node]``. What it is told of
goes to one list per run, in Redis: workers are several processes.
"""

from __future__ import annotations

import json
import re
from typing import Any

import redis

__all__ = ["calls_key", "define_traced_tasks", "without_ids"]

_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def calls_key(run: str) -> str:
    """Return the key of the list of a run's calls."""
    return f"celerant-test-calls-{run}"


def without_ids(text: str) -> str:
    """Return text that is the same in every run."""
    return _ID.sub("<id>", text)


def define_traced_tasks(  # noqa: C901 - many small tasks
    app: Any, url: str, library: Any, **common: Any
) -> dict[str, Any]:
    """Register the tasks on `app`, under the same names on every app.

    Args:
        app: Of Celery or Celerant.
        url: Of the Redis with their notes.
        library: `celery` or `celerant`, for replacements of tasks.
        common: Options of every task.
    """
    client = redis.Redis.from_url(url)
    tasks: dict[str, Any] = {}

    def task(**options: Any) -> Any:
        def register(function: Any) -> Any:
            name = function.__name__
            made = app.task(name=f"traced.{name}", **common, **options)(function)
            return tasks.setdefault(name, made)

        return register

    def tell(at: list[Any], *seen: Any) -> None:
        run, *place = at
        client.rpush(calls_key(run), json.dumps([*place, *seen]))

    @task()
    def note(*args: Any, at: list[Any]) -> Any:
        """Return its arguments behind its name."""
        tell(at, args)
        return [at[2], *args]

    @task()
    def fail(*args: Any, at: list[Any]) -> None:
        tell(at, args)
        raise ValueError(at[2])

    @task(bind=True, max_retries=5)
    def again(self: Any, *args: Any, at: list[Any]) -> Any:
        """Do as `note` the third time."""
        tell(at, args, self.request.retries)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return [at[2], *args]

    @task(bind=True, max_retries=1)
    def in_vain(self: Any, *args: Any, at: list[Any]) -> None:
        tell(at, args, self.request.retries)
        raise self.retry(exc=KeyError(at[2]), countdown=0)

    @task(bind=True)
    def swapped(self: Any, *args: Any, at: list[Any], into: str) -> Any:
        """Let another canvas take its place."""
        tell(at, args)
        run, canvas, node = at

        def part(name: str) -> Any:
            return tasks[name].s(*args, at=[run, canvas, f"{node}.{name}"])

        def parts(*names: str) -> list[Any]:
            return [part(name) for name in names]

        def later(name: str) -> Any:
            return tasks[name].s(at=[run, canvas, f"{node}.then"])

        canvases = {
            "task": lambda: part("note"),
            "failing": lambda: part("fail"),
            "retried": lambda: part("again"),
            "chain": lambda: library.chain(part("note"), later("note"), app=app),
            "group": lambda: library.group(parts("note", "again"), app=app),
            "chord": lambda: library.chord(
                parts("note", "again"), later("note"), app=app
            ),
            "failing chord": lambda: library.chord(
                parts("note", "fail"), later("note"), app=app
            ),
            "chain to group": lambda: library.chain(
                part("note"), library.group([later("note")] * 2, app=app), app=app
            ),
        }
        raise self.replace(canvases[into]())

    @task()
    def told_id(_task_id: str, at: list[Any]) -> None:
        """Serve as an errback that is sent."""
        tell(at)

    @task()
    def told_all(_request: Any, exc: Any, _traceback: Any, at: list[Any]) -> None:
        """Serve as an errback that is called in the worker.

        Of the body of a chord that fails, `request` says less in Celery.
        """
        tell(at, without_ids(repr(exc)))

    return tasks
