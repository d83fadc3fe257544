"""An app whose workers are killed, for tests that count its tasks by their index."""

from __future__ import annotations

import os
import signal
import textwrap
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from celerant import Celerant, group
from harness.celerant_worker import CelerantWorker

if TYPE_CHECKING:
    from pathlib import Path

    import redis

__all__ = ["HELD", "SLOTS", "Volleys", "kill_9"]

#: Tasks that a worker runs at a time, and messages that it holds for each.
SLOTS, HELD = 2, 32
_APP = """
import json, os, redis
from celerant import Celerant

app = Celerant("volleys", broker=os.environ["BROKER"], backend=os.environ["STORE"])
app.conf.task_default_queue = os.environ["QUEUE"]
app.conf.worker_prefetch_multiplier = 32
app.conf.broker_transport_options = json.loads(os.environ["OPTIONS"])
store = redis.Redis.from_url(os.environ["COUNTS"])

@app.task(name="volleys.early")
def early(index):
    store.rpush("runs", index)
    return index

@app.task(name="volleys.late", acks_late=True)
def late(index):
    store.rpush("runs", index)
    return index

@app.task(name="volleys.hold", acks_late=True)
def hold(index):
    store.rpush("runs", index)
    store.blpop("go", 60)
    return index

@app.task(name="volleys.hold_early")
def hold_early(index):
    store.rpush("runs", index)
    store.blpop("go", 60)
    return index
"""


class Volleys:
    """Sends the app's tasks, starts its workers, and counts what ran."""

    def __init__(self, app: Celerant, folder: Path, tasks: str, counts: str) -> None:
        """Write the app's module.

        Args:
            app: Sends; its queue is the workers'.
            folder: For the module.
            tasks: The source of tasks of the test's own.
            counts: The URL of a Redis where tasks tell that they run.
        """
        self.app = app
        self._folder, self._counts = folder, counts
        source = _APP + textwrap.dedent(tasks)
        (folder / "volleys_app.py").write_text(source)

    def worker(
        self, concurrency: int, pool: str, broker: str, store: str, options: str = "{}"
    ) -> CelerantWorker:
        """Return a worker, which runs while it is entered.

        Args:
            concurrency: Tasks at a time.
            pool: Threads or processes.
            broker: Its URL.
            store: The URL of the result store.
            options: The broker's transport options, as JSON.
        """
        return CelerantWorker(
            folder=self._folder,
            module="volleys_app:app",
            hostname=f"{uuid.uuid4().hex[:8]}@localhost",
            pool=pool,
            concurrency=concurrency,
            environment={
                **os.environ,
                "BROKER": broker,
                "STORE": store,
                "COUNTS": self._counts,
                "QUEUE": self.app.conf.task_default_queue,
                "OPTIONS": options,
                "PYTHONPATH": str(self._folder),
            },
        )

    def send(self, task: str, count: int, start: int = 0) -> Any:
        """Send a group of a task, with the numbers from `start` on."""
        members = [
            self.app.signature(f"volleys.{task}", (i,))
            for i in range(start, start + count)
        ]
        return group(members).apply_async()

    @staticmethod
    def told_by(client: redis.Redis) -> dict[str, Any]:
        """Return what a test asks of the tasks' Redis: `runs`, `begun`, `let_go`."""
        return {
            "runs": lambda: Counter(map(int, client.lrange("runs", 0, -1))),
            "begun": lambda: client.llen("runs"),
            "let_go": lambda: client.rpush("go", 1),
        }


def kill_9(worker: CelerantWorker) -> None:
    """End a worker at once, and wait until it is gone."""
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait(20)
