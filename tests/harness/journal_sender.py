"""Senders that are killed at a point of their way, and a count of what they sent.

A sender is a forked child of a process that has imported all it needs, so that one is
there in milliseconds.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from kombu import Connection

from celerant import Celerant, chord, group
from celerant.dispatch.wires import chunk_limits
from celerant.sending import journal_redis
from harness.noted_runs import NotedRuns
from harness.tcp_proxy import TcpProxy

__all__ = [
    "Plan",
    "app_of",
    "counted",
    "forget",
    "is_stopped",
    "members_of",
    "run_killed",
    "run_to_death",
    "start",
    "working",
]

#: Seconds that a sender has to come to its end, on a machine that is busy.
PATIENCE = 60

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["harness.journal_sender"])


@dataclass
class Plan:
    """What a sender sends, and how."""

    broker: str
    backend: str
    name: str
    journal: Any
    size: int
    options: dict[str, Any] = field(default_factory=dict)
    #: Whether the members come from a generator.
    streams: bool = False
    #: How many tasks the header of a chord has that is member 1; 0: it is none.
    header: int = 0
    #: Whether it goes on with what another has begun.
    resumes: bool = False
    #: It kills itself as it reads this member.
    dies_at: int | None = None
    #: It stops itself as it reads this member, until it is told to go on.
    stops_at: int | None = None
    #: Where it writes the handle of its result.
    handle_to: str = ""
    #: Seconds that its lease lives; None: as long as always.
    lease: float | None = None


def app_of(plan: Plan) -> Celerant:
    return Celerant(
        plan.name,
        broker=plan.broker,
        backend=plan.backend,
        task_default_queue=plan.name,
        result_expires=600,
        control_exchange=plan.name,
        set_as_current=False,
    )


@contextmanager
def working(plan: Plan, runs: NotedRuns) -> Iterator[Celerant]:
    """Run a worker of a plan's queue, whose tasks note that they run."""
    with app_of(plan) as app:

        @app.task(name="fed.note")
        def note(index: int) -> int:
            runs.note(index)
            return index

        with app.worker(concurrency=4):
            yield app


def members_of(app: Celerant, plan: Plan, go: threading.Event | None = None) -> group:
    """Return the group; a generator waits for `go`."""
    note = app.signature("fed.note")

    def members():
        if go is not None:
            go.wait(PATIENCE)
        for index in range(plan.size):
            if index == plan.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if index == plan.stops_at:
                os.kill(os.getpid(), signal.SIGSTOP)
            if index == 1 and plan.header:
                yield chord([note.clone((i,)) for i in range(plan.header)], note)
            else:
                yield note.clone((index,))

    return group(members() if plan.streams else list(members()), app=app)


def _send(plan: Plan) -> None:
    # On a busy machine every broker seems far, and chunks would be larger.
    chunk_limits.FAR = math.inf
    if plan.lease is not None:
        journal_redis._LEASE_MS = int(plan.lease * 1000)
        journal_redis._RENEW = plan.lease / 4
    app = app_of(plan)
    go = threading.Event()
    if not plan.handle_to:
        go.set()
    members = members_of(app, plan, go)
    if plan.resumes:
        result = members.resume(plan.journal)
    else:
        result = members.apply_async(journal=plan.journal, **plan.options)
    if plan.handle_to:
        Path(plan.handle_to).write_text(result.handle)
        go.set()
    if plan.options.get("window"):
        # Its thread would end with the process.
        result.wait(PATIENCE)
    os._exit(0)


def start(plan: Plan) -> Any:
    """Run a sender in a process of its own."""
    process = _context.Process(target=_send, args=(plan,), daemon=True)
    process.start()
    return process


def run_to_death(plan: Plan) -> None:
    """Run a sender until it kills itself at a member."""
    process = start(plan)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def is_stopped(process: Any) -> bool:
    """Whether a sender was stopped, and may be told to go on."""
    status = Path(f"/proc/{process.pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def run_killed(plan: Plan, proxy: TcpProxy, at: int, *, loses_reply: bool) -> bool:
    """Run a sender and kill it once it has sent so many bytes; return whether it was.

    Args:
        plan: Its broker is reached by the proxy.
        proxy: Calls `watch` with what it forwards.
        at: Bytes to the broker.
        loses_reply: Whether the last of them arrive.
    """
    process = start(plan)
    seen = Counter()
    is_killed = threading.Event()

    def watch(request: bytes, connection: object) -> bool:
        seen[connection] = len(request)
        if is_killed.is_set() or sum(seen.values()) < at:
            return False
        is_killed.set()
        os.kill(process.pid, signal.SIGKILL)
        return True

    proxy.watch(watch, loses_reply=loses_reply)
    process.join(PATIENCE)
    assert process.exitcode in {0, -signal.SIGKILL}
    proxy.watch(None)
    return process.exitcode != 0


def counted(url: str, queue: str, size: int = 0) -> Counter[int]:
    """Take all messages out of a queue; return how many each member has.

    Args:
        url: Of the broker.
        queue: Its queue.
        size: Waits until there are so many members.
    """
    with Connection(url) as connection:
        if connection.transport.driver_type == "redis":
            client = connection.default_channel.client
            raw = client.lrange(queue, 0, -1)
            client.delete(queue)
            return Counter(json.loads(one)["headers"]["group_index"] for one in raw)
        channel = connection.default_channel
        found: Counter[int] = Counter()

        def take(message: Any) -> None:
            found[message.headers["group_index"]] += 1

        channel.basic_consume(queue, no_ack=True, callback=take)
        deadline, is_over = time.monotonic() + PATIENCE, False
        while not is_over:
            try:
                connection.drain_events(timeout=0.3)
            except TimeoutError:
                # Messages of dead connections may come late.
                is_over = len(found) >= size or time.monotonic() > deadline
        return found


def forget(url: str, folder: Path, *seeds: bytes) -> None:
    """Delete what journals left in Redis.

    Args:
        url: Of the Redis.
        folder: Has the files of some.
        seeds: Of others.
    """
    found = {seed.hex() for seed in seeds}
    for path in folder.iterdir():
        if path.is_file():
            found |= set(
                re.findall(r'"seed":"([0-9a-f]{32})"', path.read_text("latin1"))
            )
    names = [f"_kombu.celerant.journal.{seed}" for seed in found]
    parts = ("", ".records", ".prints", ".lease")
    keys = [name + part for name in names for part in parts]
    if keys:
        with redis.Redis.from_url(url) as client:
            client.delete(*keys)
