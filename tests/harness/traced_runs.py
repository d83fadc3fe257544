"""Many canvases sent at once, and the outcome of each."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import redis

from harness.canvases import Recipe, build
from harness.traced_canvases import placed
from harness.traced_tasks import calls_key, without_ids

__all__ = ["REFUSED", "Outcome", "Run", "settled", "side"]

#: Stands for the results of a refused canvas.
REFUSED = "refused"
_LOOK_S = 0.05

Read = Callable[[Sequence[str]], Iterable["bytes | None"]]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a canvas."""

    #: As the canvas's own result: a list for a group, else (status, value).
    results: Any
    #: Each call of a task as JSON, and how often.
    calls: Counter[str]


def side(app: Any, library: Any, tasks: dict[str, Any]) -> SimpleNamespace:
    """Return a library's names as `build` takes them."""
    return SimpleNamespace(
        app=app,
        tasks=tasks,
        # Celery orders groups in groups in its own way: docs/compatibility.md.
        flat=True,
        group=library.group,
        chain=library.chain,
        chord=library.chord,
    )


class Run:
    """Recipes sent together; `name` is among the arguments of their tasks."""

    def __init__(self, name: str, client: redis.Redis, read: Read) -> None:
        self.name = name
        self._client = client
        self._read = read
        self._trees: list[Any] = []

    def send(self, recipes: Sequence[Recipe], lib: Any) -> None:
        """Build and send each recipe."""
        for number, recipe in enumerate(recipes):
            self._trees.append(self._send(placed(recipe, self.name, number), lib))

    @staticmethod
    def _send(recipe: Recipe, lib: Any) -> Any:
        try:
            return _ids(build(recipe, lib).apply_async())
        except Exception as exc:  # noqa: BLE001 - the other side must refuse it too
            return f"{REFUSED}: {type(exc).__name__}: {exc}"

    def outcomes(self) -> list[Outcome]:
        """Look at the outcomes of the canvases so far."""
        key = calls_key(self.name)
        calls: list[Counter[str]] = [Counter() for _ in self._trees]
        for entry in self._client.lrange(key, 0, -1):
            number, *call = json.loads(entry)
            calls[number][json.dumps(call)] += 1
        ids = list(_leaves(self._trees))
        records = dict(zip(ids, map(_state, self._read(ids)), strict=True))
        return [
            Outcome(_looked_up(tree, records), counted)
            for tree, counted in zip(self._trees, calls, strict=True)
        ]


def settled(
    run: Run, is_settled: Callable[[list[Outcome]], bool], timeout: float
) -> list[Outcome]:
    """Look until it is settled, or nothing has changed for `timeout` seconds."""
    pause = threading.Event()
    seen = None
    while True:
        found = run.outcomes()
        if is_settled(found):
            return found
        if found != seen:
            seen, last_change = found, time.monotonic()
        if time.monotonic() - last_change > timeout:
            return found
        pause.wait(_LOOK_S)


def _ids(result: Any) -> Any:
    """Return the ids of a result: of a group's members in a list."""
    if result is None:
        return None
    members = getattr(result, "results", None)
    return result.id if members is None else [_ids(member) for member in members]


def _is_refusal(tree: Any) -> bool:
    return isinstance(tree, str) and tree.startswith(REFUSED)


def _leaves(tree: Any) -> Iterable[str]:
    if isinstance(tree, list):
        for branch in tree:
            yield from _leaves(branch)
    elif tree is not None and not _is_refusal(tree):
        yield tree


def _looked_up(tree: Any, records: dict[str, Any]) -> Any:
    if isinstance(tree, list):
        return [_looked_up(branch, records) for branch in tree]
    if _is_refusal(tree):
        return tree
    return None if tree is None else records[tree]


def _state(payload: bytes | None) -> Any:
    if payload is None:
        return ("PENDING", None)
    record = json.loads(payload)
    value = record["result"]
    if record["status"] == "FAILURE":
        value = [value["exc_type"], without_ids(json.dumps(value["exc_message"]))]
    return (record["status"], value)
